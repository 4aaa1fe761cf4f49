/* Loaded before libc: counts the file operations below one directory, those of SQLite too, and disturbs the armed ones.
 *
 *   error  the operation fails with EIO
 *   full   the disk takes half of a write, then ENOSPC, until the last armed operation
 *   kill   the process dies in the operation; half of a write is done
 *   power  the machine dies: what was not synced is gone as well, bytes and names
 */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

enum { OFF, ERROR, FULL, KILL, POWER };
enum { FILES = 1024 };

static struct {
    char path[PATH_MAX];
    long synced; /* bytes that survive a loss of power, -1 for a directory */
    int named;   /* whether its name does */
} files[FILES]; /* by descriptor */
static struct { char path[PATH_MAX]; } unnamed[FILES]; /* made since their directory was synced */
static char root[PATH_MAX];
static int mode;
static long count, first, last;

void fault_arm(const char *directory, int what, long from, long until) {
    strncpy(root, directory, sizeof root - 1);
    mode = what, count = 0, first = from, last = until;
}

long fault_count(void) { return count; }

#define REAL(name) ((__typeof__(&name))dlsym(RTLD_NEXT, #name))

static int below(const char *path) { return root[0] && !strncmp(path, root, strlen(root)); }
static int watched(int fd) { return fd >= 0 && fd < FILES && files[fd].path[0]; }

static int in_directory(const char *path, const char *directory) {
    size_t length = strlen(directory);
    return !strncmp(path, directory, length) && path[length] == '/' && !strchr(path + length + 1, '/');
}

static void lose_power(void) {
    for (int fd = 0; fd < FILES; fd++)
        if (watched(fd) && files[fd].synced >= 0 && !strstr(files[fd].path, "-shm")) {
            struct stat now;
            if (!fstat(fd, &now) && now.st_size > files[fd].synced) REAL(truncate)(files[fd].path, files[fd].synced);
        }
    for (int n = 0; n < FILES; n++)
        if (unnamed[n].path[0]) REAL(unlink)(unnamed[n].path);
}

/* Whether this operation is struck; does not return where the process dies in it. */
static int struck(int fd, const void *data, size_t size, long at) {
    count++;
    if (mode == OFF || count < first || count >= last) return 0;
    if (mode == KILL || mode == POWER) {
        if (data) at < 0 ? REAL(write)(fd, data, size / 2) : REAL(pwrite)(fd, data, size / 2, at);
        if (mode == POWER) lose_power();
        _exit(137);
    }
    errno = mode == FULL ? ENOSPC : EIO;
    return 1;
}

static int made(int fd, const char *path, int flags, int existed) {
    if (fd < 0 || fd >= FILES) return fd;
    files[fd].path[0] = 0;
    if (!below(path)) return fd;
    struct stat now;
    fstat(fd, &now);
    strncpy(files[fd].path, path, PATH_MAX - 1);
    files[fd].synced = S_ISDIR(now.st_mode) ? -1 : now.st_size;
    for (int n = 0; (flags & O_CREAT) && !existed && n < FILES; n++)
        if (!unnamed[n].path[0]) {
            strncpy(unnamed[n].path, path, PATH_MAX - 1);
            break;
        }
    return fd;
}

#define OPEN(name)                                                          \
    int name(const char *path, int flags, ...) {                            \
        va_list rest;                                                       \
        va_start(rest, flags);                                              \
        int permissions = va_arg(rest, int);                                \
        va_end(rest);                                                       \
        int existed = access(path, F_OK) == 0;                              \
        if (below(path) && struck(-1, NULL, 0, -1)) return -1;              \
        return made(REAL(name)(path, flags, permissions), path, flags, existed); \
    }
OPEN(open)
OPEN(open64)

int close(int fd) {
    if (watched(fd)) files[fd].path[0] = 0; /* from here on its bytes count as synced */
    return REAL(close)(fd);
}

static ssize_t half(int fd, const void *data, size_t size, long at) {
    if (mode != FULL || size < 2) return -1;
    return at < 0 ? REAL(write)(fd, data, size / 2) : REAL(pwrite)(fd, data, size / 2, at);
}

ssize_t write(int fd, const void *data, size_t size) {
    if (watched(fd) && struck(fd, data, size, -1)) return half(fd, data, size, -1);
    return REAL(write)(fd, data, size);
}

ssize_t pwrite(int fd, const void *data, size_t size, off_t at) {
    if (watched(fd) && struck(fd, data, size, at)) return half(fd, data, size, at);
    return REAL(pwrite)(fd, data, size, at);
}

ssize_t pwrite64(int fd, const void *data, size_t size, off64_t at) { return pwrite(fd, data, size, at); }

static int synced(int fd) {
    struct stat now;
    fstat(fd, &now);
    if (files[fd].synced >= 0) files[fd].synced = now.st_size;
    else
        for (int n = 0; n < FILES; n++)
            if (in_directory(unnamed[n].path, files[fd].path)) unnamed[n].path[0] = 0;
    return 0;
}

/* Nothing is synced for real: the tests' machine keeps its power. */
int fsync(int fd) {
    if (!watched(fd)) return REAL(fsync)(fd);
    return struck(fd, NULL, 0, -1) ? -1 : synced(fd);
}

int fdatasync(int fd) { return fsync(fd); }

int ftruncate(int fd, off_t size) {
    if (watched(fd) && struck(fd, NULL, 0, -1)) return -1;
    return REAL(ftruncate)(fd, size);
}

int ftruncate64(int fd, off64_t size) { return ftruncate(fd, size); }

int rename(const char *from, const char *to) {
    if (below(from) && struck(-1, NULL, 0, -1)) return -1;
    return REAL(rename)(from, to);
}

int unlink(const char *path) {
    if (below(path) && struck(-1, NULL, 0, -1)) return -1;
    for (int n = 0; n < FILES; n++)
        if (!strcmp(unnamed[n].path, path)) unnamed[n].path[0] = 0;
    return REAL(unlink)(path);
}

int mkdir(const char *path, mode_t permissions) {
    if (below(path) && struck(-1, NULL, 0, -1)) return -1;
    return REAL(mkdir)(path, permissions);
}

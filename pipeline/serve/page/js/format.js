// Times, sizes and durations as people read them. Times are Unix seconds; what is shown is the viewer's own time zone.

const date = new Intl.DateTimeFormat(undefined, { year: "numeric", month: "short", day: "numeric" });
const clock = new Intl.DateTimeFormat(undefined, { hour: "2-digit", minute: "2-digit", second: "2-digit", hourCycle: "h23" });
const short = new Intl.DateTimeFormat(undefined, { hour: "2-digit", minute: "2-digit", hourCycle: "h23" });

export const ZONE = new Intl.DateTimeFormat("en", { timeZoneName: "short" }).formatToParts(new Date())
  .find((part) => part.type === "timeZoneName").value;

export const formatDate = (t) => date.format(t * 1000);
export const formatClock = (t) => clock.format(t * 1000);
export const formatMinute = (t) => short.format(t * 1000);
export const formatTime = (t) => `${formatDate(t)}, ${formatClock(t)}`;

/** With thousandths, for single frames. */
export function formatExact(t) {
  const ms = Math.floor((t - Math.floor(t)) * 1000);
  return `${formatDate(t)}, ${formatClock(Math.floor(t))}.${String(ms).padStart(3, "0")}`;
}

/** `90` -> `1 min 30 s`; two units at most. */
export function formatDuration(seconds) {
  if (seconds < 0) return `-${formatDuration(-seconds)}`;
  if (seconds < 10) return `${seconds.toFixed(1).replace(/\.0$/, "")} s`;
  const units = [["d", 86400], ["h", 3600], ["min", 60], ["s", 1]];
  let rest = Math.round(seconds);
  const parts = [];
  for (const [name, size] of units) {
    const count = Math.floor(rest / size);
    rest -= count * size;
    if (count || parts.length) parts.push([count, name]);
    if (parts.length === 2) break;
  }
  return parts.filter(([count]) => count).map(([count, name]) => `${count} ${name}`).join(" ");
}

/** Powers of ten, as disks are sold and the command line shows them. */
export function formatBytes(bytes) {
  if (bytes === null || bytes === undefined) return "–";
  const units = ["B", "kB", "MB", "GB", "TB", "PB"];
  let at = 0;
  while (Math.abs(bytes) >= 1000 && at < units.length - 1) {
    bytes /= 1000;
    at += 1;
  }
  return `${at === 0 || bytes >= 100 ? Math.round(bytes) : bytes.toFixed(1)} ${units[at]}`;
}

/** Days with one digit where they are few; null stands for "no end in sight". */
export function formatDays(days) {
  if (days === null || days === undefined || !Number.isFinite(days)) return "no limit";
  if (days > 3650) return "> 10 years";
  return days < 10 ? `${days.toFixed(1)} d` : `${Math.round(days)} d`;
}

export const formatPercent = (share) => `${Math.round(share * 100)} %`;

/** For <input type="datetime-local" step="1">, and back. */
export function toInput(t) {
  const at = new Date(Math.floor(t) * 1000);
  const two = (value) => String(value).padStart(2, "0");
  return `${at.getFullYear()}-${two(at.getMonth() + 1)}-${two(at.getDate())}T${two(at.getHours())}:${two(at.getMinutes())}:${two(at.getSeconds())}`;
}

export function fromInput(text) {
  const at = Date.parse(text);
  return Number.isNaN(at) ? null : at / 1000;
}

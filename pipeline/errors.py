"""Every exception that Fovea raises on purpose, in one tree.

    FoveaError
    ├── UsageError            the caller asked for something that cannot be (exit status 2)
    │   └── ConfigError       a configuration file is wrong; the message names the key's path
    └── JobError              the request was fine, the job failed (exit status 1)
        ├── SourceError       a camera, file or URL cannot be opened or read
        ├── DetectorError     weights are missing or cannot be loaded
        ├── CodecError        weights, fingerprint or sizes do not fit the stream
        ├── StreamError       damaged or hostile bytes; the message says where
        ├── StoreError        the archive cannot be written, read or trusted
        ├── WorkerError       a worker process or its node died, or does not answer
        └── JobCancelled      somebody called it off

Each takes one positional message, so that its type survives the way through Ray. Extras are keywords with defaults.
"""

from __future__ import annotations


class FoveaError(Exception):
    """Root of the tree. `exit_status` is what the command line returns."""

    exit_status = 1


class UsageError(FoveaError):
    """The caller's misuse: wrong argument, wrong combination, no such file."""

    exit_status = 2


class ConfigError(UsageError):
    """A configuration file is wrong."""


class JobError(FoveaError):
    """The request was valid, the work failed."""


class SourceError(JobError):
    """A camera, file or URL cannot be opened or read. `final`: trying again would not help."""

    def __init__(self, message: str, *, final: bool = False) -> None:
        super().__init__(message)
        self.final = final

    def __reduce__(self) -> tuple[object, ...]:
        return (_restore_source_error, (self.args[0], self.final))


def _restore_source_error(message: str, final: bool) -> SourceError:
    return SourceError(message, final=final)


class DetectorError(JobError):
    """A detector cannot be made ready."""


class CodecError(JobError):
    """Weights, fingerprint or dimensions do not fit the stream."""


class StreamError(JobError):
    """Bytes that are not a valid stream. `offset` is the byte in the file where it shows, -1 if unknown."""

    def __init__(self, message: str, *, offset: int = -1) -> None:
        super().__init__(message)
        self.offset = offset

    def __reduce__(self) -> tuple[object, ...]:
        return (_restore_stream_error, (self.args[0], self.offset))


def _restore_stream_error(message: str, offset: int) -> StreamError:
    return StreamError(message, offset=offset)


class StoreError(JobError):
    """The archive cannot be written, read or trusted."""


class WorkerError(JobError):
    """A worker process or its node died, or does not answer. What it held is lost; another can take its place."""


class JobCancelled(JobError):
    """The caller called the work off."""

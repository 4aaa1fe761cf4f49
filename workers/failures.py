"""What goes wrong on Ray, as Fovea's own errors: those of a stage as what they were there, the death of a worker as
WorkerError. Knows no cameras."""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import contextmanager

from ray.exceptions import GetTimeoutError, RayActorError, RayError, RayTaskError

from pipeline.errors import FoveaError, JobError, WorkerError


@contextmanager
def errors() -> Iterator[None]:
    """Raises FoveaError for whatever Ray raises."""
    try:
        yield
    except RayError as error:
        cause: BaseException = error
        while isinstance(cause, RayTaskError):  # an actor whose argument failed wraps what it was given
            cause = cause.cause
        if isinstance(cause, FoveaError):
            raise cause from None
        if isinstance(cause, RayActorError):
            raise WorkerError(f"a worker process of this camera died ({_class_name(cause)})") from error
        if isinstance(cause, GetTimeoutError):
            raise WorkerError("a worker process of this camera does not answer") from error
        first = (str(cause).splitlines() or [""])[0]
        if isinstance(cause, RayError):  # lost objects and nodes
            raise WorkerError(f"{type(cause).__name__}: {first}") from error
        raise JobError(f"{type(cause).__name__}: {first}") from error


def _class_name(error: RayActorError) -> str:
    """Which actor it was, from the only place where Ray says it."""
    found = re.search(r"class_name: (\w+)", str(error))
    return found[1].lower() if found else "unknown"

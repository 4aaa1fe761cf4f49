"""`fovea run`: the main job."""

from __future__ import annotations

import os
import traceback
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from pipeline.cli.logs import STYLES, set_up
from pipeline.cli.output import Json, Value, choice, emit, say, show_bytes, watch

if TYPE_CHECKING:
    from pipeline.config import SiteConfig
    from pipeline.local import CameraReport, Run

INTERRUPTED = 130


def register(app: typer.Typer) -> None:
    app.command("run")(run)


def run(
    config: Annotated[Path, typer.Argument(help="A site file; configs/site.example.yaml shows every key.")],
    runner: Annotated[str, typer.Option(help="ray, or local for one process.")] = "ray",
    frames: Annotated[int | None, typer.Option(min=1, help="Stop each camera after so many frames.")] = None,
    log: Annotated[str, typer.Option(help="text, or json: an object a line on stderr.")] = "text",
    as_json: Json = False,
) -> int:
    """Record every camera of a site: detect, encode, store. Follows changes of the file's cameras while it runs."""
    from pipeline.config import load_site

    choice(runner, ("ray", "local"), "--runner")
    set_up(choice(log, STYLES, "--log"))
    site = load_site(config)
    job, interrupted = record(site, runner=runner, frames=frames, follow=config)
    report_failures(job)
    emit(_result(job), as_json=as_json, text=_text(job, site.store))
    return 1 if failed(job) else INTERRUPTED if interrupted else 0


def failed(job: Run) -> list[CameraReport]:
    return [report for report in job.cameras.values() if report.error is not None]


def report_failures(job: Run) -> None:
    """A line for every camera that failed."""
    for report in failed(job):
        if report.unexpected is not None and os.environ.get("FOVEA_DEBUG") == "1":
            traceback.print_exception(report.unexpected)
        for line in str(report.error).splitlines():
            say(f"fovea: camera {report.camera}: {line}")


def record(site: SiteConfig, *, runner: str, frames: int | None, follow: Path | None = None) -> tuple[Run, bool]:
    """Run the whole job; returns it ended, and whether it was interrupted. `follow`: the site file whose cameras may
    change meanwhile. Raises FoveaError where it cannot begin."""
    from pipeline.store import Store

    with Store(site.store):
        pass  # an archive that cannot be written is one error now, not one a camera later
    with _begun(site, runner, frames, follow) as job:
        interrupted = watch(job)
    return job, interrupted


@contextmanager
def _begun(site: SiteConfig, runner: str, frames: int | None, follow: Path | None) -> Iterator[Run]:
    """In this process, on a Ray of its own, or on a cluster, where a supervisor has it."""
    from pipeline.attend import attended
    from pipeline.budget import Budget
    from pipeline.local import run_chain

    budget = Budget(site.budget)
    attend = partial(attended, site, budget=budget, report=say, frames=frames, follow=follow)
    if runner == "local":
        with attend(partial(run_chain, budget=budget)) as job:
            yield job
        return
    from workers.runtime import runtime

    with runtime(site.ray, cameras=len(site.cameras)):
        if site.ray.address is not None:
            from workers.supervisor import supervised

            with supervised(site, follow, frames=frames) as distant:
                yield distant
            return
        from workers.chain import ray_chain
        from workers.machines import Machines

        with Machines() as machines, attend(ray_chain(site.ray, budget=budget), machines=machines.uses) as job:
            yield job


def _result(job: Run) -> dict[str, Value]:
    cameras: dict[str, Value] = {name: asdict(report.counters) for name, report in job.cameras.items()}
    return {"seconds": round(job.seconds, 3), "cameras": cameras}


def _text(job: Run, store: Path) -> str:
    lines = [f"{job.seconds:.1f} s; archive in {store}"]
    for name, report in job.cameras.items():
        c = report.counters
        size = f"foreground {show_bytes(c.bytes_foreground)}, background {show_bytes(c.bytes_background)}"
        lines.append(f"{name}: {c.frames_in} in, {c.coded} coded, {c.dropped} dropped, {c.lost} lost; {size}")
    return "\n".join(lines)

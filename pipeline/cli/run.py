"""`fovea run`: the main job."""

from __future__ import annotations

import os
import traceback
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import asdict
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from pipeline.cli.cameras import Follower
from pipeline.cli.logs import STYLES, set_up
from pipeline.cli.output import Json, Value, choice, emit, say, show_bytes, watch

if TYPE_CHECKING:
    from pipeline.budget import Budget
    from pipeline.config import SiteConfig
    from pipeline.local import Chain, SiteRun
    from pipeline.machine import MachineUse

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
    return 1 if job.failed else INTERRUPTED if interrupted else 0


def report_failures(job: SiteRun) -> None:
    """A line for every camera that failed."""
    for report in job.failed:
        if report.unexpected is not None and os.environ.get("FOVEA_DEBUG") == "1":
            traceback.print_exception(report.unexpected)
        for line in str(report.error).splitlines():
            say(f"fovea: camera {report.camera}: {line}")


def record(site: SiteConfig, *, runner: str, frames: int | None, follow: Path | None = None) -> tuple[SiteRun, bool]:
    """Run the whole job; returns it ended, and whether it was interrupted. `follow`: the site file whose cameras may
    change meanwhile. Raises FoveaError where it cannot begin."""
    from pipeline.budget import Budget
    from pipeline.local import SiteRun
    from pipeline.monitor import Monitor, serving
    from pipeline.recording import plan_site
    from pipeline.store import Keeper, Store

    with Store(site.store):
        pass  # an archive that cannot be written is one error now, not one a camera later
    plans = plan_site(site, frames=frames)
    keeper = Keeper(site.store, site.retentions, keep_free_gb=site.keep_free_gb, report=say)
    budget = Budget(site.budget)
    with ExitStack() as stack:
        chain, machines = stack.enter_context(_runner(site, runner, budget))
        monitor = Monitor(site.store, loads=budget.nodes, machines=machines)
        job = SiteRun(plans, chain=chain, watch=monitor.stored)
        stack.enter_context(keeper)
        if site.monitor.listen is not None:
            stack.enter_context(serving(site.monitor.listen, partial(monitor.state, job)))
        if follow is not None:
            stack.enter_context(Follower(follow, job, frames=frames))
        interrupted = watch(job)
    return job, interrupted


@contextmanager
def _runner(
    site: SiteConfig, runner: str, budget: Budget
) -> Iterator[tuple[Chain, Callable[[], Mapping[str, MachineUse]] | None]]:
    """What runs a camera, and what tells how busy the machines are where it is not this one alone."""
    if runner == "local":
        from pipeline.local import run_chain

        yield partial(run_chain, budget=budget), None
        return
    from workers.runtime import runtime

    with runtime(site.ray, cameras=len(site.cameras)):
        from workers.chain import ray_chain
        from workers.machines import Machines

        with Machines() as machines:
            yield ray_chain(site.ray, budget=budget), machines.uses


def _result(job: SiteRun) -> dict[str, Value]:
    cameras: dict[str, Value] = {name: asdict(report.counters) for name, report in job.cameras.items()}
    return {"seconds": round(job.seconds, 3), "cameras": cameras}


def _text(job: SiteRun, store: Path) -> str:
    lines = [f"{job.seconds:.1f} s; archive in {store}"]
    for name, report in job.cameras.items():
        c = report.counters
        size = f"foreground {show_bytes(c.bytes_foreground)}, background {show_bytes(c.bytes_background)}"
        lines.append(f"{name}: {c.frames_in} in, {c.coded} coded, {c.dropped} dropped, {c.lost} lost; {size}")
    return "\n".join(lines)

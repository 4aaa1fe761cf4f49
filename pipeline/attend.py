"""A site's run with all that looks after it: the archive's aging, the monitor, the site file's changes."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from functools import partial
from pathlib import Path

from pipeline.budget import Budget
from pipeline.config import SiteConfig
from pipeline.follow import Follower
from pipeline.local import Chain, SiteRun
from pipeline.machine import MachineUse
from pipeline.monitor import Monitor, serving
from pipeline.recording import plan_site
from pipeline.store import Keeper

Machines = Callable[[], Mapping[str, MachineUse]]


@contextmanager
def attended(
    site: SiteConfig,
    chain: Chain,
    *,
    budget: Budget,
    report: Callable[[str], None],
    machines: Machines | None = None,
    frames: int | None = None,
    follow: Path | None = None,
) -> Iterator[SiteRun]:
    """The run of a site, yet to be started, looked after for the length of a `with`. `budget` is the one that `chain`
    keeps to; `report` is told what aged; `frames` and `follow` as for `fovea run`. Raises FoveaError."""
    monitor = Monitor(site.store, loads=budget.nodes, machines=machines)
    job = SiteRun(plan_site(site, frames=frames), chain=chain, watch=monitor.stored)
    with ExitStack() as stack:
        stack.enter_context(Keeper(site.store, site.retentions, keep_free_gb=site.keep_free_gb, report=report))
        if site.monitor.listen is not None:
            stack.enter_context(serving(site.monitor.listen, partial(monitor.state, job)))
        if follow is not None:
            stack.enter_context(Follower(follow, job, frames=frames))
        yield job

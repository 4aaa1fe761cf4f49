"""Cameras of real RTSP servers that are killed and started again at random: does every camera come back, is every gap
where it was, do the others go on?

`python -m tests.soak.rtsp --minutes 10 --kills 20 DIR` leaves the archive in DIR and prints JSON. Exit status 1 where
a promise is not kept.
"""

from __future__ import annotations

import argparse
import json
import random
import time
from dataclasses import asdict, dataclass
from pathlib import Path

from pipeline.store import Store, check
from pipeline.store.timeline import covered, gaps
from tests.rtsp_server import RtspServer
from tests.soak.site import Recorder, camera

BACK_S = 5.0  # a camera's first frame after its server accepts connections
EDGE_S = 1.0  # the last frame before a kill lies at most so long before it
GAP_US = 1_500_000
OUTAGE_S = 2.0, 10.0
TRANSPORTS = ("tcp", "udp", "tcp")


@dataclass(frozen=True, slots=True)
class Outage:
    """Of one camera's server, Unix seconds: killed, and accepting connections again."""

    camera: str
    killed_s: float
    back_s: float


@dataclass(frozen=True, slots=True)
class Verdict:
    """One outage against the archive, in seconds: `early` from the last frame before the kill to the kill, `late` from
    the server's return to the first frame after."""

    camera: str
    outage: float
    early: float | None
    late: float | None

    @property
    def ok(self) -> bool:
        return self.early is not None and self.late is not None and self.early <= EDGE_S and 0 <= self.late <= BACK_S


def torment(servers: dict[str, RtspServer], *, seconds: float, kills: int, chance: random.Random) -> list[Outage]:
    """Kill and restart servers, one at a time, spread over the time."""
    outages, begin_s = [], time.monotonic()
    for number in range(kills):
        share_s = seconds / kills
        length_s = chance.uniform(*OUTAGE_S)
        spare_s = max(0.0, share_s - length_s - BACK_S - 3)
        time.sleep(3 + chance.random() * spare_s)
        name = chance.choice(sorted(servers))
        killed_s = time.time()
        servers[name].kill()
        time.sleep(length_s)
        servers[name].start()
        outages.append(Outage(name, killed_s, time.time()))
        time.sleep(max(0.0, begin_s + (number + 1) * share_s - time.monotonic()))
    time.sleep(BACK_S)
    return outages


def judge(
    store: Store, outages: list[Outage], *, from_us: int, to_us: int
) -> tuple[list[Verdict], dict[str, list[float]]]:
    """Each outage's gap, and by camera the seconds of gaps that no outage explains."""
    verdicts: list[Verdict] = []
    surplus: dict[str, list[float]] = {}
    for name in store.cameras():
        spans = covered(store, name, from_us=from_us, to_us=to_us, gap_us=GAP_US)
        found = list(gaps(spans, from_us=from_us, to_us=to_us, gap_us=GAP_US))
        for outage in (item for item in outages if item.camera == name):
            mine = [gap for gap in found if gap[0] <= outage.back_s * 1e6 and gap[1] >= outage.killed_s * 1e6]
            early = outage.killed_s - mine[0][0] / 1e6 if len(mine) == 1 else None
            late = mine[0][1] / 1e6 - outage.back_s if len(mine) == 1 else None
            verdicts.append(Verdict(name, outage.back_s - outage.killed_s, early, late))
            found = [gap for gap in found if gap not in mine]
        surplus[name] = [(end - begin) / 1e6 for begin, end in found]
    return verdicts, surplus


def main() -> int:
    parser = argparse.ArgumentParser()
    parser.add_argument("root", type=Path)
    parser.add_argument("--minutes", type=float, default=10.0)
    parser.add_argument("--kills", type=int, default=20)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--runner", default="ray")
    given = parser.parse_args()
    servers = {f"camera{number}": RtspServer() for number in range(3)}
    try:
        for server in servers.values():
            server.start()
        cameras = {
            name: camera(server.url(), rtsp_transport=transport)
            for (name, server), transport in zip(servers.items(), TRANSPORTS, strict=True)
        }
        with Recorder(given.root, cameras, runner=given.runner) as recorder:
            recorder.wait_for(len(servers))
            time.sleep(5)
            from_us = time.time_ns() // 1000
            chance = random.Random(given.seed)
            outages = torment(servers, seconds=given.minutes * 60, kills=given.kills, chance=chance)
            to_us = time.time_ns() // 1000 - 2_000_000
    finally:
        for server in servers.values():
            server.kill()
    with Store(recorder.store, readonly=True) as store:
        verdicts, surplus = judge(store, outages, from_us=from_us, to_us=to_us)
        faults = [str(fault) for fault in check(store)]
    counts = recorder.result["cameras"]
    ok = all(v.ok for v in verdicts) and not any(surplus.values()) and not faults
    report = {
        "ok": ok, "outages": [asdict(v) for v in verdicts], "other_gaps_s": surplus, "faults": faults,
        "cameras": counts, "seconds": (to_us - from_us) / 1e6,
        "latest_back_s": max((v.late for v in verdicts if v.late is not None), default=None),
    }  # fmt: skip
    print(json.dumps(report, indent=1))
    return 0 if ok else 1


if __name__ == "__main__":
    raise SystemExit(main())

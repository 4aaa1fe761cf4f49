"""Makes container.fov and container.json, the frozen example of pipeline/bitstream/FORMAT.md. Run from the root of the
repository with `python -m tests.golden.make_container`, only when the format's version changes."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

from pipeline.types import Packet
from tests.streams import make_packets, write_joint

HERE = Path(__file__).parent


def packets() -> list[Packet]:
    """Two segments at 30000/1001 frames a second, with a dropped frame, a late one and a clock that is set. The second
    plate is of 20 blocks, so that its parity has groups of two."""
    made = make_packets(44, fps=30000 / 1001, gop=10, segment=30, size=8)
    moved = [replace(p, wall_us=p.wall_us - 2_500_000) if p.index > 14 else p for p in made if p.index != 7]
    late = [replace(p, pts_us=p.pts_us + 900) if p.index == 23 else p for p in moved]
    return [replace(p, plate=bytes(k * k % 251 for k in range(5000))) if p.index == 30 else p for p in late]


def as_json(packet: Packet) -> dict[str, object]:
    return {
        "index": packet.index, "pts_us": packet.pts_us, "wall_us": packet.wall_us, "key": packet.key,
        "foreground": packet.foreground.hex(), "background": packet.background.hex(), "plate": packet.plate.hex(),
        "sums": list(packet.sums),
    }  # fmt: skip


if __name__ == "__main__":
    (HERE / "container.fov").write_bytes(write_joint(packets()))
    (HERE / "container.json").write_text(json.dumps([as_json(p) for p in packets()], indent=1) + "\n")

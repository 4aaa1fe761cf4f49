"""`python -m tests.fuzz TARGET --runs N --seed S [--corpus DIR]`: exit status 1, and the input in DIR, for a bug."""

from __future__ import annotations

import argparse
import resource
import sys
from pathlib import Path

from tests.fuzz import TARGETS
from tests.fuzz.engine import Crash, fuzz, keep, load, replay

_ROOM = 512 << 20  # address space: an allocation that is never touched does not show in the resident size
_STEP = 50_000


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.fuzz")
    parser.add_argument("target", choices=TARGETS)
    parser.add_argument("--runs", type=int, default=100_000)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--corpus", type=Path, default=Path("out/fuzz"), help="kept inputs; all are run first")
    options = parser.parse_args()
    target = load(options.target)
    used = int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
    resource.setrlimit(resource.RLIMIT_AS, (used + _ROOM, resource.RLIM_INFINITY))
    done, refused, seconds, worst, peak = 0, 0, 0.0, 0.0, 0
    try:
        for path in sorted(options.corpus.glob(f"{options.target}-*.bin")):
            replay(target, path.read_bytes())
        while done < options.runs:
            report = fuzz(target, runs=min(_STEP, options.runs - done), seed=options.seed, first=done)
            done, refused, seconds = done + report.runs, refused + report.refused, seconds + report.seconds
            worst, peak = max(worst, report.worst_s), peak + report.peak_bytes
            print(
                f"{options.target} seed {options.seed}: {done} runs, {refused} refused, {done / seconds:.0f} a second, "
                f"worst {worst * 1000:.1f} ms, {peak >> 10} KiB more than at the start",
                flush=True,
            )
    except Crash as crash:
        print(crash, file=sys.stderr)
        print(f"the input is {keep(options.corpus, options.target, crash.data)}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())

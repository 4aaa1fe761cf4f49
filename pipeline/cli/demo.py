"""`python -m pipeline.cli.demo CONFIG`: what `make demo` runs. The main job on Ray, an exported clip, a summary."""

from __future__ import annotations

import shutil
import sys
from functools import partial
from pathlib import Path

from pipeline.cli.output import counted, replacing, say, show_bytes
from pipeline.config import SiteConfig, load_site
from pipeline.errors import JobError

FOREVER_US = 1 << 62


def main(path: Path) -> int:
    from pipeline.cli.run import record, report_failures

    site = load_site(path)
    shutil.rmtree(site.store, ignore_errors=True)
    job, interrupted = record(site, runner="ray", frames=None)
    report_failures(job)
    if job.failed or interrupted:
        return 1
    print(f"\n{path}: recorded on Ray in {job.seconds:.1f} s")
    for name, report in job.cameras.items():
        c = report.counters
        clip = site.store.parent / f"{name}.mp4"
        width, height = _export(site, name, clip)
        coded = c.bytes_foreground + c.bytes_background
        print(f"  frames       {c.coded} of {width}x{height}, {c.dropped} dropped, {c.lost} lost")
        print(
            f"  bytes        {coded} ({show_bytes(coded)}): foreground {c.bytes_foreground}, "
            f"background {c.bytes_background}"
        )
        print(f"  bits a pixel {coded * 8 / (c.coded * width * height):.4f}")
        print(f"  to raw       1 : {c.coded * width * height * 1.5 / coded:.0f}")
        print(f"  archive      {site.store}")
        print(f"  clip         {clip}")
    return 0


def _export(site: SiteConfig, camera: str, out: Path) -> tuple[int, int]:
    """Everything recorded of a camera as MP4; returns its width and height."""
    from pipeline.codec import Decoder
    from pipeline.export import export_mp4
    from pipeline.replay import replay
    from pipeline.store import Store

    make_decoder = partial(Decoder, threads=site.cameras[camera].codec.threads)
    with Store(site.store, readonly=True) as store, replacing(out) as part:
        shown = replay(store, camera, 0, FOREVER_US, make_decoder=make_decoder)
        result = export_mp4(counted(shown, "exported"), part, info=shown.info(), clock="wall")
    if shown.faults:
        raise JobError(f"{site.store}: {len(shown.faults)} faults; `fovea verify {site.store}` lists them")
    say(f"exported {result.frames} frames")
    return result.width, result.height


if __name__ == "__main__":
    from pipeline.cli import guarded, prepare

    prepare()
    sys.exit(guarded(lambda: main(Path(sys.argv[1]))))

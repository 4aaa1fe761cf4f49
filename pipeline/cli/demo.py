"""`python -m pipeline.cli.demo CONFIG`: what `make demo` runs. The main job on Ray, an exported clip, a summary."""

from __future__ import annotations

import shutil
import sys
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from pipeline.cli.output import counted, replacing, say, show_bytes
from pipeline.config import SiteConfig, load_site
from pipeline.errors import JobError

if TYPE_CHECKING:
    from pipeline.bench.demo import DemoMeter, DemoReport

FOREVER_US = 1 << 62


def main(path: Path) -> int:
    from pipeline.cli.run import failed, record, report_failures

    site = load_site(path)
    shutil.rmtree(site.store, ignore_errors=True)
    job, interrupted = record(site, runner="ray", frames=None)
    report_failures(job)
    if failed(job) or interrupted:
        return 1
    print(f"\n{path}: recorded on Ray in {job.seconds:.1f} s")
    for name, report in job.cameras.items():
        c = report.counters
        clip = site.store.parent / f"{name}.mp4"
        meter = _meter(site, name)
        width, height = _export(site, name, clip, meter)
        coded = c.bytes_foreground + c.bytes_background
        print(f"  frames       {c.coded} of {width}x{height}, {c.dropped} dropped, {c.lost} lost")
        print(
            f"  bytes        {coded} ({show_bytes(coded)}): foreground {c.bytes_foreground}, "
            f"background {c.bytes_background}"
        )
        print(f"  bits a pixel {coded * 8 / (c.coded * width * height):.4f}")
        _print_quality(meter.report(say), coded)
        print(f"  archive      {site.store}")
        print(f"  clip         {clip}")
    return 0


def _meter(site: SiteConfig, camera: str) -> DemoMeter:
    """The source once more, as it was recorded: the scene is the same every time."""
    from pipeline.bench.demo import DemoMeter
    from pipeline.source import open_source
    from pipeline.track import RoiStage

    config = site.cameras[camera]
    with open_source(config.source) as source:
        return DemoMeter(RoiStage(config.detector, config.mask).process(source), fps=source.fps)


def _export(site: SiteConfig, camera: str, out: Path, meter: DemoMeter) -> tuple[int, int]:
    """Everything recorded of a camera as MP4; returns its width and height."""
    from pipeline.codec import Decoder
    from pipeline.export import export_mp4
    from pipeline.replay import replay
    from pipeline.store import Store

    make_decoder = partial(Decoder, threads=site.cameras[camera].codec.threads)
    with Store(site.store, readonly=True) as store, replacing(out) as part:
        shown = replay(store, camera, 0, FOREVER_US, make_decoder=make_decoder)
        frames = counted(meter.watch(shown), "exported")
        result = export_mp4(frames, part, info=shown.info(), clock="wall")
    if shown.faults:
        raise JobError(f"{site.store}: {len(shown.faults)} faults; `fovea verify {site.store}` lists them")
    say(f"exported {result.frames} frames")
    return result.width, result.height


def _print_quality(quality: DemoReport, coded: int) -> None:
    print(f"  foreground   {quality.foreground_psnr:.2f} dB (PSNR, YUV 6:1:1)")
    print(f"  background   {quality.background_psnr:.2f} dB")
    print(f"  to source    1 : {quality.raw_bytes / coded:.0f} (its 4:2:0 pictures)")
    at = f"x264 zero-latency at the same weighted PSNR, {quality.weighted_psnr:.2f} dB"
    if quality.x264_known:
        print(f"  to x264      {coded / quality.x264_bytes:.2f} of {quality.x264_bytes:.0f} bytes ({at})")
    else:
        print(f"  to x264      not compared: {at}, lies beyond its curve")


if __name__ == "__main__":
    from pipeline.cli import guarded, prepare

    prepare()
    sys.exit(guarded(lambda: main(Path(sys.argv[1]))))

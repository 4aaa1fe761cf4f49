"""What a codec asks of a process: memory at its peak, seconds to import and to the first frame. Each in a process of
its own: `python -m pipeline.bench.footprint CODEC CLIP.npz QUALITY GOP`.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from dataclasses import asdict, dataclass
from pathlib import Path

from pipeline.bench.clipfile import load_clip
from pipeline.errors import JobError

FOVEA = "fovea"


@dataclass(frozen=True, slots=True)
class Footprint:
    """Of encoding a clip and decoding it again. `idle_mib`: after the imports, with nothing done; `peak_mib`: at most,
    the clip's own frames left out, for a recorder has them one at a time. Both are the process's, libraries and
    interpreter included. `import_s`: until the codec can be made; `first_s`: from there until the first frame is
    coded, None for opponents, which may look ahead."""

    codec: str
    idle_mib: float
    peak_mib: float
    import_s: float
    first_s: float | None


def measure_footprint(codec: str, clip: Path, *, quality: float, gop_s: float) -> Footprint:
    """In a new process. `clip`: a file as `clipfile` writes it. Raises JobError where it fails."""
    command = [sys.executable, "-W", "ignore", "-m", "pipeline.bench.footprint", codec, str(clip), f"{quality}"]
    done = subprocess.run(
        [*command, f"{gop_s}"], capture_output=True, text=True, env=os.environ | {"OMP_NUM_THREADS": "1"}
    )
    if done.returncode:
        raise JobError(f"{codec}: {(done.stderr.strip().splitlines() or ['no message'])[-1]}")
    return Footprint(**json.loads(done.stdout.splitlines()[-1]))


def _peak_mib() -> float:
    """Of this process alone: what getrusage says begins with the memory of the process that started it."""
    text = Path("/proc/self/status").read_text(encoding="ascii")
    return int(text.partition("VmHWM:")[2].split()[0]) / 1024


def _ours(path: Path, quality: float, gop_s: float) -> Footprint:
    began = time.perf_counter()
    from pipeline.codec import Decoder, Encoder

    import_s, idle = time.perf_counter() - began, _peak_mib()
    clip = load_clip(path)
    held = sum(item.frame.nbytes for item in clip.masked) / 2**20
    began = time.perf_counter()
    encoder = Encoder(
        width=clip.width, height=clip.height, quality=quality, gop_us=round(gop_s * 1e6), device="cpu", threads=1
    )
    packets = [encoder.encode(clip.masked[0].frame, clip.masked[0].mask)]
    first_s = time.perf_counter() - began
    packets += encoder.encode_all([(item.frame, item.mask) for item in clip.masked[1:]])
    decoder = Decoder(encoder.info, device="cpu")
    for packet in packets:
        decoder.decode(packet)
    return Footprint(FOVEA, idle, _peak_mib() - held, import_s, first_s)


def _theirs(name: str, path: Path, gop_s: float) -> Footprint:
    began = time.perf_counter()
    from pipeline.bench import opponents

    import_s, idle = time.perf_counter() - began, _peak_mib()
    clip = load_clip(path)
    held = sum(item.frame.nbytes for item in clip.masked) / 2**20
    opponent = opponents.OPPONENTS[name]
    attempt = opponents.Attempt(opponent.settings[len(opponent.settings) // 2], round(gop_s * clip.fps))
    for _ in opponents.code(opponent, clip, attempt).frames:
        pass
    return Footprint(name, idle, _peak_mib() - held, import_s, None)


def main() -> None:
    codec, path, quality, gop_s = sys.argv[1:]
    ours = codec == FOVEA
    found = _ours(Path(path), float(quality), float(gop_s)) if ours else _theirs(codec, Path(path), float(gop_s))
    print(json.dumps(asdict(found)))


if __name__ == "__main__":
    main()

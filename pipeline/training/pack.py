"""Training data in a folder of bounded size, to carry to a machine that has neither the originals nor PyAV.

The folder has the originals' form, `images/` and `clips/`, so training takes it like any other data. Clips lose their
tail and their sound, not their quality: packets are copied. Photos are shrunk until they fit, at last some are left
out.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import islice
from pathlib import Path

import cv2

from pipeline.errors import SourceError, UsageError
from pipeline.training.config import TrainConfig
from pipeline.training.data import CROP
from pipeline.training.footage import Material

CLIPS_SHARE = 0.7  # at most, where there are photos too
_LEAST_FRAMES = 20  # of a clip
_SCALES = (0.95, 0.9, 0.85, 0.8, 0.75, 0.7, 0.65, 0.6, 0.55, 0.5)  # of photos; then photos are left out
_JPEG_QUALITY = 90


@dataclass(frozen=True, slots=True)
class Packed:
    """What a pack holds. `scale` is that of the photos; `size` counts all bytes."""

    clips: int
    frames: int
    photos: int
    left_out: int
    scale: float
    size: int


def pack(config: TrainConfig, out: Path, *, limit: int) -> Packed:
    """Write what the configuration trains on to the new folder `out`, in at most `limit` bytes of files. Raises
    UsageError, SourceError."""
    found = Material.find(config)
    if out.exists() and any(out.iterdir()):
        raise UsageError(f"{out}: is not empty")
    paths = sorted({clip.path for clip in found.clips + found.held_clips})
    photos = sorted({*found.photos, *found.held_photos})
    share = int(limit * CLIPS_SHARE) if photos else limit
    frames, used = _pack_clips(paths, out / "clips", frames=config.clip_frames, limit=share)
    scale, files = _fitting(photos, limit - used)
    (out / "images").mkdir()
    for name, data in files.items():
        (out / "images" / name).write_bytes(data)
    size = used + sum(map(len, files.values()))
    return Packed(len(paths), frames, len(files), len(photos) - len(files), scale, size)


def _pack_clips(paths: Sequence[Path], folder: Path, *, frames: int, limit: int) -> tuple[int, int]:
    """Copy the first `frames` frames of each clip, or as many of each as fit. Returns how many, and all their bytes."""
    folder.mkdir(parents=True, exist_ok=True)
    while True:
        for path in paths:
            _copy_frames(path, folder / path.name, frames)
        size = sum((folder / path.name).stat().st_size for path in paths)
        if size <= limit:
            return frames, size
        frames = min(frames - 1, int(0.95 * frames * limit / size))
        if frames < _LEAST_FRAMES:
            raise UsageError(f"{len(paths)} clips do not fit into {limit} bytes, not even {_LEAST_FRAMES} frames each")


def _copy_frames(path: Path, out: Path, frames: int) -> None:
    """The first packets in decoding order: all of them decode."""
    import av

    try:
        with av.open(str(path)) as source, av.open(str(out), "w") as target:
            video = source.streams.video[0]
            copy = target.add_stream_from_template(video)
            for packet in islice(source.demux(video), frames):
                if packet.dts is not None:  # it ends with an empty one
                    packet.stream = copy
                    target.mux(packet)
    except (av.error.FFmpegError, IndexError, ValueError) as error:
        raise SourceError(f"{path}: its video cannot be copied: {error}") from error


def _fitting(photos: Sequence[Path], limit: int) -> tuple[float, dict[str, bytes]]:
    """The photos' scale, file names and contents in at most `limit` bytes: as they are, else shrunk, else some left
    out. Raises SourceError, UsageError."""
    if sum(path.stat().st_size for path in photos) <= limit:
        return 1.0, {path.name: path.read_bytes() for path in photos}
    attempts = [(scale, 1) for scale in _SCALES] + [(_SCALES[-1], every) for every in range(2, len(photos) + 1)]
    for scale, every in attempts:
        files = _shrunk(photos[::every], scale, limit)
        if files is not None:
            return scale, files
    raise UsageError(f"not one of {len(photos)} photos fits into the {limit} bytes that the clips leave")


def _shrunk(photos: Sequence[Path], scale: float, limit: int) -> dict[str, bytes] | None:
    """Photos as smaller JPEGs; None when they pass `limit`."""
    files = {}
    for path in photos:
        bgr = cv2.imread(str(path), cv2.IMREAD_COLOR)
        if bgr is None:
            raise SourceError(f"{path}: not an image")
        height, width = bgr.shape[:2]
        own = min(1.0, max(scale, CROP / min(height, width)))  # smaller, nothing could be cut out of it
        small = cv2.resize(bgr, (round(width * own), round(height * own)), interpolation=cv2.INTER_AREA)
        data = cv2.imencode(".jpg", small, [cv2.IMWRITE_JPEG_QUALITY, _JPEG_QUALITY])[1].tobytes()
        files[f"{path.name if path.with_suffix('.jpg').name in files else path.stem}.jpg"] = data
        limit -= len(data)
        if limit < 0:
            return None
    return files

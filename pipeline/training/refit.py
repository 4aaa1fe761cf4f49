"""New tables and scores for the nets of a weights file: `python -m pipeline.training.refit WEIGHTS OUT CLIP...`

For when what is coded beside the nets has changed, or its statistics. Of each clip the first frames are encoded; takes
some minutes a clip.
"""

from __future__ import annotations

import argparse
from pathlib import Path

from pipeline.codec import weights
from pipeline.codec.tables import initial_tables
from pipeline.training.export import fit_tables
from pipeline.training.footage import read_clip


def main(arguments: list[str] | None = None) -> int:
    """Writes OUT, prints its fingerprint. Raises CodecError, SourceError."""
    parser = argparse.ArgumentParser(prog="python -m pipeline.training.refit", description=__doc__)
    parser.add_argument("weights", type=Path, help="the nets are taken from here")
    parser.add_argument("out", type=Path)
    parser.add_argument("clips", type=Path, nargs="+")
    parser.add_argument("--frames", type=int, default=24, help="of each clip, its first")
    given = parser.parse_args(arguments)
    nets, shape = weights.read_nets(given.weights)
    clips = [read_clip(clip, most=given.frames) for clip in given.clips]
    tables = fit_tables(nets, clips, start=initial_tables())
    print(weights.save(given.out, nets, tables, shape).hex())
    return 0


if __name__ == "__main__":
    raise SystemExit(main())

"""How hard the encoder tries: bytes against time. The stream's format and its decoder are the same at every effort.

What each choice saves and costs is in docs/experiments.md, "Effort" and "Effort, once more".
"""

from __future__ import annotations

from dataclasses import dataclass

from pipeline.codec.tables import TAKEN


@dataclass(frozen=True, slots=True)
class Effort:
    """`recode`: positions that did not pay are taken out and the layer is coded again; else it is guessed beforehand
    which will pay.

    With `layer_bits` it is guessed before the motion search too: a layer whose symbols promise to save less than that
    in all has none.

    Motion is searched in cells where symbols would save more than `lively_bits` in place: for the cell and, with
    `split`, for each of its blocks; of the neighbours' vectors the first `taken` are tried. With `refine` so are, for
    the cell, its match with one component as expected, and what lies a quarter pixel beside its best vector.

    `background_every`: the background is brought up to date in every n-th frame. `half`: the analysis of many positions
    is in bfloat16 where the processor has it; it writes no plane.
    """

    name: str
    recode: bool = True
    layer_bits: float = 0.0
    lively_bits: float = 0.0
    refine: bool = True
    split: bool = True
    taken: int = TAKEN - 1
    background_every: int = 1
    half: bool = False


BEST = Effort("best")
EFFORTS = {
    effort.name: effort
    for effort in (
        BEST,
        Effort("balanced", recode=False, lively_bits=3.0, refine=False),
        Effort(
            "fast",
            recode=False,
            layer_bits=64.0,
            lively_bits=20.0,
            refine=False,
            split=False,
            taken=3,
            background_every=4,
            half=True,
        ),
    )
}

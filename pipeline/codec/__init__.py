"""The codec: frames and masks to packets and back. Needs torch, knows no Ray, opens no file but its weights.

In the order of the data: `state` (planes both ends keep), `change` (what moved in the background; `passes` over whole
pictures), `search` (motion), `blocks` and `nets` (transforms), `entropy`, `tables`, `adaptive`, `rans`, `maps` (bits),
`layer` and `plate` (one payload), `encoder`, `decoder`, `weights`. `exact` keeps float32 exact where the parse needs
it; `rate` steers quality, `tuning` holds the encoder's free choices.
"""

from pipeline.codec.decoder import Decoder
from pipeline.codec.encoder import Encoder
from pipeline.codec.tuning import Tuning

__all__ = ["Decoder", "Encoder", "Tuning"]

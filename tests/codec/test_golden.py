"""Committed streams decode to the committed symbols, exactly, and to the committed pixels, nearly: however they are
run."""

from __future__ import annotations

import io
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

import numpy as np
import pytest
import torch

from pipeline.bitstream import StreamReader
from pipeline.codec import Encoder, weights
from pipeline.codec.brain import Brain
from pipeline.errors import StreamError
from pipeline.types import Frame, Layer
from tests.codec.clips import decode_all, encode_and_check, sizes, walk
from tests.golden.make_codec import HERE, decode

STREAMS = sorted(HERE.glob("*.fov"))


@contextmanager
def threads(count: int) -> Iterator[None]:
    before = torch.get_num_threads()
    torch.set_num_threads(count)
    yield
    torch.set_num_threads(before)


@contextmanager
def without_onednn() -> Iterator[None]:
    before = torch.backends.mkldnn.set_flags(False)
    yield
    torch.backends.mkldnn.set_flags(*before)


@contextmanager
def reduced_precision() -> Iterator[None]:
    """What other code in the process may have asked for."""
    before = torch.get_float32_matmul_precision()
    torch.set_float32_matmul_precision("medium")
    with torch.autocast("cpu", torch.bfloat16):
        yield
    torch.set_float32_matmul_precision(before)


SETTINGS = {
    "plain": ([], {}),
    "two threads": ([lambda: threads(2)], {}),
    "whole frames": ([], {"whole": True}),
    "no oneDNN": ([without_onednn], {}),
    "bf16 around it": ([reduced_precision], {}),
    "all at once": ([lambda: threads(2), without_onednn, reduced_precision], {"whole": True}),
}


def psnr(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """Of each frame; 99 dB if equal."""
    squared = np.square(a.astype(float) - b).reshape(len(a), -1).mean(1)
    return 10 * np.log10(255**2 / np.maximum(squared, 255**2 / 10**9.9))


def compare(path: Path, shown: list[tuple[Frame, tuple[int, int]]]) -> None:
    with np.load(path.with_suffix(".npz")) as golden:
        assert [sums for _, sums in shown] == [tuple(s) for s in golden["sums"].tolist()]
        for name in "yuv":
            found = psnr(np.stack([getattr(frame, name) for frame, _ in shown]), golden[name])
            assert found.min() >= 45
            assert 10 * np.log10(len(found) / np.sum(10 ** (-found / 10))) >= 50


def test_there_are_golden_streams_of_the_newest_weights():
    assert len(STREAMS) >= 4
    assert any(path.read_bytes()[32:40] == weights.newest() for path in STREAMS)
    packets = [item.packet for path in STREAMS for item in StreamReader(io.BytesIO(path.read_bytes())).packets()]
    assert set(sizes(packets, Layer.BACKGROUND)) >= {8, 3}, "some in mini-GOPs"


@pytest.mark.parametrize("setting", SETTINGS)
@pytest.mark.parametrize("path", STREAMS, ids=lambda path: path.stem)
def test_golden_stream(path, setting):
    contexts, options = SETTINGS[setting]
    with ExitStack() as stack:
        for context in contexts:
            stack.enter_context(context())
        compare(path, list(decode(path.read_bytes(), device="cpu", **options)))


@pytest.mark.cuda
@pytest.mark.parametrize("path", STREAMS, ids=lambda path: path.stem)
def test_golden_stream_on_cuda(path):
    compare(path, list(decode(path.read_bytes(), device="cuda")))


def test_one_bit_of_one_integer_weight_is_noticed(monkeypatch):
    """The tests above can fail."""
    path = STREAMS[0]
    mark = path.read_bytes()[32:40]
    brain = weights.read(weights.available()[mark])
    index = brain.nets.entropy_of("foreground").index
    unit = index.hidden[5].integer_bias().argmax()  # one that is active
    weight = index.out[5].weight
    weight[0, unit] = (int(index.out[5].integer_weight()[0, unit]) ^ 32) / 127
    monkeypatch.setattr(weights, "load", lambda *_: Brain(brain.nets, brain.tables, brain.device))
    with pytest.raises((StreamError, AssertionError)):
        compare(path, list(decode(path.read_bytes(), device="cpu")))


@pytest.mark.parametrize("options", [{"bf16": True}, {"whole": True}, {"bf16": True, "whole": True}], ids=str)
def test_how_an_encoder_runs_its_nets_does_not_matter_to_a_decoder(options):
    clip = list(walk(6, 64, 96, noise=1.0))
    encoder = Encoder(width=96, height=64, gop_us=120_000, device="cpu", **options)
    packets = [encoder.encode(frame, mask) for frame, mask in clip]
    luma = np.stack([frame.y for frame in decode_all(encoder, packets)])
    plain = Encoder(width=96, height=64, gop_us=120_000, device="cpu")
    theirs = np.stack([frame.y for frame in decode_all(plain, encode_and_check(plain, clip))])
    source = np.stack([frame.y for frame, _ in clip])
    assert psnr(luma, source).mean() == pytest.approx(psnr(theirs, source).mean(), abs=0.1)

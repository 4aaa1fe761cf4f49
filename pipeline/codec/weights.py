"""Weights and tables on disk: safetensors, never a pickle, found by the fingerprint that stands in every stream's
header.

Several files can lie side by side in `weights/`; the newest (by name) encodes, any decodes what it coded.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
from collections.abc import Iterator
from dataclasses import replace
from functools import lru_cache
from pathlib import Path

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file

from pipeline.codec.brain import Brain
from pipeline.codec.model import CodecNets
from pipeline.codec.tables import Tables
from pipeline.errors import CodecError

FOLDER = Path(__file__).parent / "weights"
FINGERPRINT = 8


def fingerprint(tensors: dict[str, torch.Tensor]) -> bytes:
    """First eight bytes of a SHA-256 over names, shapes and values."""
    digest = hashlib.sha256(b"fovea codec 2")
    for name in sorted(tensors):
        tensor = tensors[name].contiguous().cpu()
        digest.update(f"{name} {tensor.dtype} {tuple(tensor.shape)}".encode())
        digest.update(tensor.numpy().tobytes())
    return digest.digest()[:FINGERPRINT]


def save(path: Path, nets: CodecNets, tables: Tables, shape: dict[str, object]) -> bytes:
    """Write a weights file; returns its fingerprint. `shape`: the arguments of CodecNets."""
    tensors = {name: value.contiguous().cpu() for name, value in nets.state_dict().items()} | tables.pack()
    mark = fingerprint(tensors)
    path.parent.mkdir(parents=True, exist_ok=True)
    save_file(tensors, path, metadata={"fingerprint": mark.hex(), "nets": json.dumps(shape)})
    return mark


def available(folder: Path = FOLDER) -> dict[bytes, Path]:
    """Fingerprint -> file, the newest last. A file that is no weights file is passed over: it must not keep the others
    from decoding."""
    found = {}
    for path in sorted(folder.glob("*.safetensors")):
        errors = SafetensorError, OSError, KeyError, TypeError, ValueError
        with contextlib.suppress(*errors), safe_open(path, framework="pt") as file:
            found[bytes.fromhex(file.metadata()["fingerprint"])] = path
    return found


def newest(folder: Path = FOLDER) -> bytes:
    """Fingerprint of the weights that encode. Raises CodecError when there are none."""
    found = available(folder)
    if not found:
        raise CodecError(f"no codec weights in {folder}: train some with `fovea train`")
    return list(found)[-1]


def read(path: Path) -> Brain:
    """A weights file, on the CPU. Raises CodecError when it is none, or when its content is not what it says."""
    with _naming(path):
        metadata, tensors = _open(path)
        if fingerprint(tensors).hex() != metadata["fingerprint"]:
            raise CodecError(f"{path}: its content does not match its fingerprint {metadata['fingerprint']}")
        return Brain(_nets(metadata, tensors), Tables.unpack(tensors), torch.device("cpu"))


def read_nets(path: Path) -> tuple[CodecNets, dict[str, object]]:
    """The nets alone and the arguments that shape them, also of a file whose tables belong to an earlier format.
    Raises CodecError."""
    with _naming(path):
        metadata, tensors = _open(path)
        return _nets(metadata, tensors), json.loads(metadata["nets"])


@contextlib.contextmanager
def _naming(path: Path) -> Iterator[None]:
    """Errors say which file is to blame."""
    try:
        yield
    except (SafetensorError, OSError, KeyError, TypeError, ValueError, RuntimeError) as error:
        raise CodecError(f"{path}: not a weights file: {str(error).splitlines()[0]}") from error


def _open(path: Path) -> tuple[dict[str, str], dict[str, torch.Tensor]]:
    with safe_open(path, framework="pt") as file:
        return file.metadata(), {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118 (not a dict)


def _nets(metadata: dict[str, str], tensors: dict[str, torch.Tensor]) -> CodecNets:
    nets = CodecNets(**json.loads(metadata["nets"]))
    nets.load_state_dict({k: v for k, v in tensors.items() if not k.startswith("tables.")})
    return nets.eval().requires_grad_(False)


@lru_cache(maxsize=4)
def load(mark: bytes, device: str, folder: Path = FOLDER) -> Brain:
    """The nets of a fingerprint, ready for inference on a device. Raises CodecError that names the missing weights."""
    path = available(folder).get(mark)
    if path is None:
        there = ", ".join(m.hex() for m in available(folder)) or "none"
        raise CodecError(f"this stream needs codec weights {mark.hex()}; in {folder} there are {there}")
    brain = read(path)
    return replace(brain, nets=brain.nets.to(device).freeze(), device=torch.device(device))

"""Float32 that is float32. What feeds the entropy coder are integers held exactly in float32; reduced-precision matrix
products (TF32, bfloat16), which any other code in the process may have switched on, would round them."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from functools import lru_cache

import torch

_SETTINGS = (("cuda", "matmul"), ("cudnn", "conv"), ("mkldnn", "matmul"), ("mkldnn", "conv"))


@contextmanager
def full_precision(device: torch.device) -> Iterator[None]:
    """Without autocast and with full float32 products, whatever the process has set; what was set comes back."""
    with ExitStack() as stack:
        stack.enter_context(torch.autocast(device.type, enabled=False))
        for backend, operation in _SETTINGS:
            module = getattr(getattr(torch.backends, backend), operation)
            if module.fp32_precision != "ieee":
                stack.callback(setattr, module, "fp32_precision", module.fp32_precision)
                module.fp32_precision = "ieee"
        yield


@lru_cache(maxsize=2)
def quick_bf16(device: torch.device) -> bool:
    """Whether a device multiplies bfloat16 quicker than float32: a processor without instructions for it is slower."""
    if device.type != "cpu":
        return True
    has = torch.cpu.get_capabilities() if hasattr(torch.cpu, "get_capabilities") else {}  # older versions cannot say
    return bool(has.get("avx512_bf16") or has.get("amx_bf16"))

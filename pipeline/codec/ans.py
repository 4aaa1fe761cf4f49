"""CompressAI's range coder without CompressAI: the extension module alone.

Importing the package would bring its models with it, and with them pandas, SciPy and torchvision: 270 MiB and seconds
in every process that decodes.
"""

from __future__ import annotations

import importlib.util
import sys
from importlib.machinery import PathFinder
from types import ModuleType

_NAME = "compressai.ans"


def _load() -> ModuleType:
    if _NAME in sys.modules:
        return sys.modules[_NAME]
    package = importlib.util.find_spec("compressai")  # of a package at the top this runs nothing
    places = package.submodule_search_locations if package is not None else None
    spec = PathFinder.find_spec(_NAME, places) if places is not None else None
    if spec is None or spec.loader is None:
        raise ImportError("the package compressai, or its extension module `ans`, is not installed")
    module = importlib.util.module_from_spec(spec)
    sys.modules[_NAME] = module  # a process can load it only once: whoever imports the package finds it here
    try:
        spec.loader.exec_module(module)
    except BaseException:
        del sys.modules[_NAME]
        raise
    return module


_module = _load()
BufferedRansEncoder = _module.BufferedRansEncoder
RansDecoder = _module.RansDecoder

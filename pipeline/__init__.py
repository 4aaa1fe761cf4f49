"""Fovea: camera footage stored sharp where it matters.

The flow, in the order of the modules: `source` (camera, file, demo) -> `detect` -> `track` -> `mask` -> `codec` ->
`bitstream` -> `store` -> `replay` -> `export`. `graph` strings them together, `local` runs them in one process and the
package `workers` on Ray; `cli` is the command. This package never imports Ray.
"""

__version__ = "0.1.0"

"""Turns neural-network weights into FP8, INT8 and other low-precision files.

    import roundwise

    report = roundwise.convert("model.safetensors", scheme="int8-row")
    matrix = roundwise.quantize(weight, scheme="fp8")

Functions about files return what the program's `--json` prints, as dictionaries. Settings are keyword
arguments with the names that they have in recipes: `scheme`, `keep`, `method`, `statistics`, `threads`, …;
`help(roundwise.Settings)` lists them. Errors are `roundwise.Error`, with `kind`, `message` and `help`.
"""

from ._error import Error
from ._matrix import quantize
from ._native import (
    QuantizedMatrix,
    __version__,
    convert,
    dequantize,
    inspect,
    plan,
    repair,
    schemes,
    stats,
    verify,
)
from ._settings import Settings

__all__ = [
    "Error",
    "QuantizedMatrix",
    "Settings",
    "__version__",
    "convert",
    "dequantize",
    "inspect",
    "plan",
    "quantize",
    "repair",
    "schemes",
    "stats",
    "verify",
]

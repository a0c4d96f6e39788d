from __future__ import annotations

import os
from typing import Any

from . import _native
from ._array import read_matrix


def quantize(
    weight: Any,
    scheme: str = "fp8",
    *,
    method: str | None = None,
    stats: Any = None,
    **settings: Any,
) -> _native.QuantizedMatrix:
    """Rounds one matrix, and returns its codes and scales with their errors.

    weight: [rows, columns] of float64, float32, float16 or bfloat16, finite; a numpy array, a torch tensor,
        or anything else with the buffer protocol or DLPack. It is copied, whatever its strides are.
    scheme: one of `roundwise.schemes()`
    method: how codes are chosen; by default the nearest, or `activations` with `stats`
    stats: what is known of the layer's inputs: the inputs themselves, [samples, columns], or a file of
        statistics and the name of the layer in it, as a pair
    settings: those that are about one matrix, such as `scale_rule="mse"`, `effort="high"`, `device="cpu"`
    """
    samples: tuple[str, str] | tuple[str, int, int, bytes] | None = None
    if stats is not None:
        if isinstance(stats, tuple) and len(stats) == 2 and isinstance(stats[1], str):
            samples = (os.fspath(stats[0]), stats[1])
        else:
            samples = read_matrix(stats, "stats")
    matrix = read_matrix(weight, "weight")
    return _native.quantize(matrix, samples, scheme=scheme, method=method, **settings)

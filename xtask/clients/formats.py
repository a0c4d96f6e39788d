"""What the output contract says of each format: storage dtype, shape of the scales, how to decode."""

from dataclasses import dataclass
from math import prod

import numpy as np

import grids
from schemes import SCHEMES, Scheme

BLOCK_DEFAULT = {"float8_e4m3fn_blockwise": 64, "int8_blockwise": 128}

# Formats that comfy-kitchen computes with, and its name for their layout.
KITCHEN_LAYOUTS = {
    "float8_e4m3fn": "TensorCoreFP8Layout",
    "float8_e5m2": "TensorCoreFP8Layout",
    "int8_tensorwise": "TensorWiseINT8Layout",
}

# What a converted layer's marker must say, by scheme.
MARKERS = {
    "fp8": {"format": "float8_e4m3fn"},
    "fp8-e5m2": {"format": "float8_e5m2"},
    "fp8-row": {"format": "float8_e4m3fn_rowwise"},
    "fp8-block-64": {"format": "float8_e4m3fn_blockwise", "group_size": 64},
    "fp8-block-128": {"format": "float8_e4m3fn_blockwise", "group_size": 128},
    "int8": {"format": "int8_tensorwise"},
    "int8-row": {"format": "int8_tensorwise", "per_row": True},
    "int8-block-64": {"format": "int8_blockwise", "group_size": 64},
    "int8-block-128": {"format": "int8_blockwise", "group_size": 128},
}


def scheme_of(marker, scale_shape):
    """The scheme that a marker stands for; a format that is not known raises KeyError."""
    name = marker["format"]
    block = marker.get("group_size", BLOCK_DEFAULT.get(name, 0))
    return {
        "float8_e4m3fn": Scheme(grids.E4M3, "tensor"),
        "float8_e5m2": Scheme(grids.E5M2, "tensor"),
        "float8_e4m3fn_rowwise": Scheme(grids.E4M3, "row"),
        "float8_e4m3fn_blockwise": Scheme(grids.E4M3, "block", block),
        "int8_tensorwise": Scheme(grids.INT8, "row" if prod(scale_shape) > 1 else "tensor"),
        "int8_blockwise": Scheme(grids.INT8, "block", block),
    }[name]


def scale_shapes(format_name, scheme, shape):
    """Shapes that a client accepts for the scales of a `shape` weight."""
    rows, cols = shape
    if scheme.tiling == "tensor":
        return [[], [1]]
    if scheme.tiling == "block":
        return [[rows // scheme.block, cols // scheme.block]]
    return [[rows]] if format_name == "float8_e4m3fn_rowwise" else [[rows, 1]]


@dataclass
class StoredLayer:
    """One quantized layer of a file."""

    name: str
    marker: dict
    scheme: Scheme
    codes: np.ndarray
    scales: np.ndarray

    def decoded(self):
        """The weight that clients compute with, F32."""
        from schemes import decode

        return decode(self.codes, self.scales, self.scheme)

    def bad_codes(self):
        """Codes that no client may meet: NaN in FP8, −128 in INT8."""
        if self.scheme.grid is grids.INT8:
            return int((self.codes == 0x80).sum())
        return int((~np.isfinite(self.scheme.grid.decode(self.codes))).sum())


def stored_layer(name, marker, weight, scale):
    """A layer from its tensors; raises ValueError where they contradict the contract."""
    dtype, shape, data = weight
    scale_dtype, scale_shape, scale_data = scale
    scheme = scheme_of(marker, scale_shape)
    if dtype != scheme.grid.header_dtype:
        raise ValueError(f"codes are {dtype}, {marker['format']} wants {scheme.grid.header_dtype}")
    if len(shape) != 2 or not scheme.covers(shape):
        raise ValueError(f"blocks do not cover {shape}")
    allowed = scale_shapes(marker["format"], scheme, shape)
    if scale_dtype != "F32" or scale_shape not in allowed:
        raise ValueError(f"scales are {scale_dtype} {scale_shape}, not F32 {allowed}")
    tiles = [size // tile for size, tile in zip(shape, scheme.tile_shape(shape))]
    scales = np.frombuffer(scale_data, "<f4").reshape(tiles)
    return StoredLayer(name, marker, scheme, np.frombuffer(data, np.uint8).reshape(shape), scales)


def wanted_scheme(name):
    """The scheme of a command-line name."""
    return SCHEMES[name]

"""What the output contract says of each format: storage dtype, shape of the scales, how to decode."""

from dataclasses import dataclass
from math import prod

import numpy as np

import grids
import packed
from packed import PACKED
from schemes import SCHEMES, Scheme

BLOCK_DEFAULT = {"float8_e4m3fn_blockwise": 64, "int8_blockwise": 128}

# Formats that comfy-kitchen computes with, and its name for their layout.
KITCHEN_LAYOUTS = {
    "float8_e4m3fn": "TensorCoreFP8Layout",
    "float8_e5m2": "TensorCoreFP8Layout",
    "int8_tensorwise": "TensorWiseINT8Layout",
    "mxfp8": "TensorCoreMXFP8Layout",
    "nvfp4": "TensorCoreNVFP4Layout",
    "convrot_w4a4": "TensorCoreConvRotW4A4Layout",
    "asym_w4a8_int8": "AsymW4A8Int8Layout",
}

# Parts of a layer besides its weight, where there are others than one F32 tensor of scales.
PARTS = {
    "nvfp4": ("weight", "weight_scale", "weight_scale_2"),
    "hybrid_mxfp8": ("weight", "weight_scale", "weight_scalar"),
    "asym_w4a8_int8": ("weight", "weight_s_rel", "weight_s_channel", "weight_codebook"),
}
PACKED_FORMATS = {
    "mxfp8": "mxfp8",
    "hybrid_mxfp8": "hybrid",
    "nvfp4": "nvfp4",
    "convrot_w4a4": "int4",
    "asym_w4a8_int8": "levels",
}

# What a converted layer's marker must say, by scheme.
MARKERS = {
    "fp8": {"format": "float8_e4m3fn"},
    "fp8-e5m2": {"format": "float8_e5m2"},
    "fp8-row": {"format": "float8_e4m3fn_rowwise"},
    "fp8-block3d-64": {"format": "float8_e4m3fn_block3d", "group_size": 64},
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
        "float8_e4m3fn_block3d": Scheme(grids.E4M3, "group", block),
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
    if scheme.tiling == "group":
        return [[rows, cols // scheme.block, 1]]
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


@dataclass
class PackedLayer:
    """One layer of a file whose codes are rotated or packed, or whose scales are bytes."""

    name: str
    marker: dict
    scheme: packed.Packed
    parts: dict
    shape: tuple

    def decoded(self):
        """The weight that clients compute with, F32."""
        return packed.decode(self.parts, self.scheme, self.shape)

    def bad_codes(self):
        """Codes and scales that no client may meet: NaN, −128 in INT8, −8 in INT4."""
        codes = np.frombuffer(self.parts["weight"][2], np.uint8)
        bad = {
            "int8": lambda: codes == 0x80,
            "int4": lambda: (codes >> 4 == 8) | (codes & 15 == 8),
            "mxfp8": lambda: codes & 0x7F == 0x7F,
            "hybrid": lambda: codes & 0x7F == 0x7F,
        }.get(self.scheme.family, lambda: np.zeros(1, bool))
        scale = "weight_s_rel" if self.scheme.family == "levels" else "weight_scale"
        scales = np.frombuffer(self.parts.get(scale, ("", [], b""))[2], np.uint8)
        nan = {"mxfp8": 255, "hybrid": 255, "nvfp4": 0x7F, "levels": 0x7F}.get(self.scheme.family)
        return int(bad().sum()) + int((scales == nan).sum())


def is_packed(marker):
    """Whether a marker is one of a `PackedLayer`."""
    return marker["format"] in PACKED_FORMATS or marker.get("convrot", False)


def packed_layer(name, marker, tensors):
    """A layer from its tensors; KeyError or ValueError where they contradict the contract."""
    family = PACKED_FORMATS.get(marker["format"], "int8")
    parts = {
        part: tensors[f"{name}.{part}"]
        for part in PARTS.get(marker["format"], ("weight", "weight_scale"))
    }
    rows, cols = parts["weight"][1]
    cols *= 2 if family in ("int4", "nvfp4", "levels") else 1
    rows, cols = marker.get("orig_shape", (rows, cols))
    scheme = packed.Packed(family, marker.get("convrot_groupsize", 0))
    expected = packed.tensors(np.zeros((rows, cols), np.float32), scheme)
    for part, (dtype, shape, _data) in expected.items():
        if parts[part][:2] != (dtype, shape):
            raise ValueError(f"{part} is {parts[part][:2]}, not {(dtype, shape)}")
    return PackedLayer(name, marker, scheme, parts, (rows, cols))


def plain_layer(name, scheme_name, tensors):
    """A layer of plain numbers, which has no marker."""
    tensor = tensors[f"{name}.weight"]
    return PackedLayer(name, None, PACKED[scheme_name], {"weight": tensor}, tuple(tensor[1]))


def wanted_scheme(name):
    """The scheme of a command-line name."""
    return SCHEMES[name]

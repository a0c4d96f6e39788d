"""comfy-kitchen, the library that ComfyUI computes with, decoding a layer on the CPU."""

import numpy as np
import torch
from comfy_kitchen.tensor import QuantizedTensor, get_layout_class

import formats
import grids

STORAGE = {"F8_E4M3": torch.float8_e4m3fn, "F8_E5M2": torch.float8_e5m2, "I8": torch.int8}

# ‖X Ŵᵀ by the client − X Ŵᵀ by us‖ / ‖X Ŵᵀ‖. An FP8 weight is decoded before the product, so only the
# order of sums differs. INT8 products also round the inputs to 8 bits per row, amax / 127: with normal
# inputs that is a step of about 3/127, and a third of a step of noise.
LINEAR_TOLERANCE = {"FP8": 1e-5, "INT8": 2e-2}
INPUT_ROWS = 8


def check_layer(layer, weight, checks):
    """The client decodes what we decode, exactly, and multiplies as we do. Error of the product."""
    quantized = quantized_tensor(layer)
    decoded = layer.decoded()
    same = np.array_equal(quantized.dequantize().numpy(), decoded)
    checks.expect(same, f"{layer.name}: comfy-kitchen decodes other values")

    inputs = torch.randn(INPUT_ROWS, weight.shape[1], generator=torch.Generator().manual_seed(1))
    product = torch.nn.functional.linear(inputs, quantized)
    checks.expect(bool(torch.isfinite(product).all()), f"{layer.name}: the product is not finite")
    expected = inputs.double() @ torch.from_numpy(decoded).double().T
    error = float((product - expected).norm() / expected.norm().clamp(min=1e-30))
    family = "INT8" if layer.scheme.grid is grids.INT8 else "FP8"
    checks.expect(error <= LINEAR_TOLERANCE[family], f"{layer.name}: the product is off by {error:.2e}")
    return error


def quantized_tensor(layer):
    """The layer as ComfyUI builds it when it opens a file."""
    codes = torch.from_numpy(layer.codes.copy()).view(STORAGE[layer.scheme.grid.header_dtype])
    scales = torch.from_numpy(layer.scales.copy())
    name = formats.KITCHEN_LAYOUTS[layer.marker["format"]]
    params = get_layout_class(name).Params(
        scale=scales.reshape(()) if scales.numel() == 1 else scales,
        orig_dtype=torch.float32,
        orig_shape=tuple(layer.codes.shape),
    )
    return QuantizedTensor(codes, name, params)

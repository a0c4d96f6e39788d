"""comfy-kitchen, the library that ComfyUI computes with, decoding a layer on the CPU."""

import numpy as np
import torch
from comfy_kitchen.tensor import QuantizedTensor, get_layout_class

import formats
import grids
import packed

STORAGE = {
    "F8_E4M3": torch.float8_e4m3fn,
    "F8_E5M2": torch.float8_e5m2,
    "I8": torch.int8,
    "U8": torch.uint8,
    "F32": torch.float32,
}

# ‖X Ŵᵀ by the client − X Ŵᵀ by us‖ / ‖X Ŵᵀ‖. A weight of FP8, MXFP8 or NVFP4 is decoded before the
# product, so only the order of sums differs. Integer products also round the inputs per row, to 8 bits
# or 4: with normal inputs that is a step of about 3/127, and a third of a step of noise; 3/7 with 4 bits.
LINEAR_TOLERANCE = {"INT8": 2e-2, "LEVELS": 2e-2, "INT4": 0.2}
DECODED_FIRST = 1e-5
INPUT_ROWS = 8

# The client undoes a rotation with a product of matrices, in whatever order it sums: up to 256
# roundings, in units of the length of the row.
ROTATION_TOLERANCE = 256 * 2.0**-25


def check_layer(layer, weight, checks):
    """The client decodes what we decode, exactly, and multiplies as we do. Error of the product."""
    quantized, decoded = quantized_tensor(layer), layer.decoded()
    rows, cols = weight.shape
    found = quantized.dequantize().numpy()[:rows, :cols]
    if is_rotated(layer):
        bound = ROTATION_TOLERANCE * np.linalg.norm(decoded, axis=1, keepdims=True)
        checks.expect(bool((np.abs(found - decoded) <= bound).all()), f"{layer.name}: undone otherwise")
        found, decoded = unrotated_codes(layer), packed.decode_rotated(layer.parts, layer.scheme, weight.shape)
    same = np.array_equal(found, decoded)
    checks.expect(same, f"{layer.name}: comfy-kitchen decodes other values")

    inputs = torch.randn(INPUT_ROWS, cols, generator=torch.Generator().manual_seed(1))
    product = torch.nn.functional.linear(inputs, quantized)[:, :rows]
    checks.expect(bool(torch.isfinite(product).all()), f"{layer.name}: the product is not finite")
    expected = inputs.double() @ torch.from_numpy(layer.decoded().copy()).double().T
    error = float((product - expected).norm() / expected.norm().clamp(min=1e-30))
    tolerance = LINEAR_TOLERANCE.get(family(layer), DECODED_FIRST)
    checks.expect(error <= tolerance, f"{layer.name}: the product is off by {error:.2e}")
    return error


def is_rotated(layer):
    """Whether the codes are those of a rotated weight."""
    return isinstance(layer, formats.PackedLayer) and layer.scheme.most > 0


def family(layer):
    """The codes' kind, in upper case."""
    if isinstance(layer, formats.PackedLayer):
        return layer.scheme.family.upper()
    return "INT8" if layer.scheme.grid is grids.INT8 else "FP8"


def quantized_tensor(layer, **options):
    """The layer as ComfyUI builds it when it opens a file."""
    name = formats.KITCHEN_LAYOUTS[layer.marker["format"]]
    if isinstance(layer, formats.PackedLayer):
        return packed_tensor(layer, name, **options)
    codes = torch.from_numpy(layer.codes.copy()).view(STORAGE[layer.scheme.grid.header_dtype])
    scales = torch.from_numpy(layer.scales.copy())
    params = get_layout_class(name).Params(
        scale=scales.reshape(()) if scales.numel() == 1 else scales,
        orig_dtype=torch.float32,
        orig_shape=tuple(layer.codes.shape),
    )
    return QuantizedTensor(codes, name, params)


def packed_tensor(layer, name, **options):
    """The same for packed codes; `options` go before those of the marker."""
    parts = {part: torch_tensor(tensor) for part, tensor in layer.parts.items()}
    family = layer.scheme.family
    scale = parts["weight_s_rel" if family == "levels" else "weight_scale"]
    if family == "levels":
        own = {
            "scale": scale,
            "s_channel": parts["weight_s_channel"],
            "codebook": parts["weight_codebook"],
            "group_size": layer.marker["group_size"],
            "convrot_groupsize": layer.marker["convrot_groupsize"],
        }
    elif family == "mxfp8":
        own = {"scale": scale.view(torch.float8_e8m0fnu)}
    elif family == "nvfp4":
        own = {"scale": parts["weight_scale_2"], "block_scale": scale}
    else:
        own = {"scale": scale, "convrot_groupsize": layer.marker["convrot_groupsize"]}
        own |= {"convrot": True} if family == "int8" else {}
    params = get_layout_class(name).Params(
        orig_dtype=torch.float32, orig_shape=tuple(layer.shape), **(own | options)
    )
    return QuantizedTensor(parts["weight"], name, params)


def unrotated_codes(layer):
    """What the client makes of the codes before it undoes the rotation."""
    if layer.scheme.family == "int8":
        return quantized_tensor(layer, convrot=False).dequantize().numpy()
    if layer.scheme.family == "levels":
        from comfy_kitchen.backends.eager import w4a8_int8

        parts = {part: torch_tensor(tensor) for part, tensor in layer.parts.items()}
        codes = w4a8_int8._dequant_int4_grouped_to_int8(
            parts["weight"], parts["weight_s_rel"], parts["weight_codebook"], packed.LEVEL_GROUP
        )
        return (codes.float() * parts["weight_s_channel"][:, None]).numpy()
    from comfy_kitchen.backends.eager.svdquant import _unpack_int4_row_major

    codes = _unpack_int4_row_major(torch_tensor(layer.parts["weight"])).float()
    return (codes * torch_tensor(layer.parts["weight_scale"])[:, None]).numpy()


def torch_tensor(tensor):
    """A tensor of a file."""
    dtype, shape, data = tensor
    bytes_ = torch.frombuffer(bytearray(data), dtype=torch.uint8)
    return bytes_.view(STORAGE[dtype]).reshape(shape)

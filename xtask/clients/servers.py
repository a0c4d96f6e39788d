"""What compressed-tensors and transformers make of files for servers, and what `roundwise` makes of them.

    python servers.py ROUNDWISE

Writes a layer of every format with compressed-tensors' own compressors, has `roundwise dequantize` decode
the file to F32, and compares bit for bit with those libraries' own decoding. Prints what it found as JSON.
Needs torch, numpy, compressed-tensors and transformers.
"""

import json
import subprocess
import sys
import tempfile
from pathlib import Path

import torch
from compressed_tensors.compressors import BaseCompressor
from compressed_tensors.compressors.nvfp4.helpers import unpack_fp4_from_uint8
from compressed_tensors.quantization import QuantizationArgs, QuantizationScheme
from compressed_tensors.quantization.lifecycle.forward import dequantize
from compressed_tensors.quantization.utils.helpers import calculate_qparams
from safetensors.torch import load_file, save_file
from transformers.integrations.finegrained_fp8 import Fp8Dequantize

E4M3 = torch.float8_e4m3fn
SHAPE = (256, 384)


def weight(rows, cols):
    """Normal numbers with a row and a column of outliers, and a block of zeros."""
    values = torch.randn(rows, cols, generator=torch.Generator().manual_seed(rows + cols)) * 0.02
    values[5] *= 12
    values[:, 7] *= 12
    values[3, :64] = 0
    return values


def block_absmax(values, rows, cols):
    """Largest magnitude of each block, the last ones maybe smaller."""
    height, width = -(-values.shape[0] // rows) * rows, -(-values.shape[1] // cols) * cols
    padded = torch.zeros(height, width)
    padded[: values.shape[0], : values.shape[1]] = values.abs()
    blocks = padded.reshape(height // rows, rows, width // cols, cols)
    return blocks.amax(dim=(1, 3)).clamp(min=1e-12)


def with_compressor(name, args, scale, extra=None, shape=SHAPE):
    """(tensors, expected numbers, configuration) of a format of compressed-tensors."""
    scheme = QuantizationScheme(targets=["Linear"], weights=QuantizationArgs(**args))
    compressor = BaseCompressor.get_value_from_registry(name)
    state = {"weight": weight(*shape), "weight_scale": scale, **(extra or {})}
    tensors = compressor.compress(state, scheme)
    wide = {key: value.float() if value.dtype == torch.bfloat16 else value for key, value in tensors.items()}
    expected = compressor.decompress(wide, scheme)["weight"].float()
    config = {
        "quant_method": "compressed-tensors",
        "format": name,
        "config_groups": {"group_0": {"targets": ["Linear"], "weights": json.loads(scheme.weights.model_dump_json())}},
    }
    return tensors, expected, config


def fp8(strategy, scale, shape=SHAPE, **options):
    args = {"num_bits": 8, "type": "float", "strategy": strategy, **options}
    return with_compressor("float-quantized", args, scale, shape=shape)


def nvfp4():
    values = weight(*SHAPE)
    divisor = (448 * 6 / values.abs().max()).reshape(1)
    scale = block_absmax(values, 1, 16) / 6 * divisor
    scale = torch.where(scale < 2**-9, 0.125, scale).clamp(max=448).to(E4M3).float()
    args = {"num_bits": 4, "type": "float", "strategy": "tensor_group", "group_size": 16}
    name, divisors = "nvfp4-pack-quantized", {"weight_global_scale": divisor}
    tensors, _, config = with_compressor(name, args, scale, divisors)
    # The compressor itself goes through BF16; its parts do not have to.
    codes = unpack_fp4_from_uint8(tensors["weight_packed"], *SHAPE, dtype=torch.float32)
    scale, args = tensors["weight_scale"].float(), QuantizationArgs(**args)
    return tensors, dequantize(codes, scale, args=args, global_scale=divisor), config


def mxfp8():
    scale = torch.exp2(torch.ceil(torch.log2(block_absmax(weight(*SHAPE), 1, 32) / 448)))
    args = {"num_bits": 8, "type": "float", "strategy": "group", "group_size": 32, "scale_dtype": torch.uint8}
    return with_compressor("mxfp8-quantized", args, scale)


def int8():
    scale = weight(*SHAPE).abs().amax(1, keepdim=True) / 127
    args = {"num_bits": 8, "type": "int", "strategy": "channel"}
    return with_compressor("int-quantized", args, scale)


def int4(group):
    """Zero points of groups, as compressed-tensors' observers choose them."""
    groups = weight(*SHAPE).reshape(SHAPE[0], -1, group)
    args = {"num_bits": 4, "type": "int", "symmetric": False, "strategy": "group", "group_size": group}
    scale, zeros = calculate_qparams(groups.amin(-1), groups.amax(-1), QuantizationArgs(**args))
    return with_compressor("pack-quantized", args, scale, {"weight_zero_point": zeros})


def hugging_face():
    scale = block_absmax(weight(*SHAPE), 128, 128) / 448
    spread = scale.repeat_interleave(128, 0).repeat_interleave(128, 1)
    codes = (weight(*SHAPE) / spread).to(E4M3)
    expected = Fp8Dequantize(None)._dequantize_one(codes, scale, torch.float32)
    config = {"quant_method": "fp8", "weight_block_size": [128, 128]}
    return {"weight": codes, "weight_scale_inv": scale}, expected, config


def formats():
    values = weight(*SHAPE)
    rows = values.abs().amax(1, keepdim=True) / 448
    yield "fp8 tensor", "fp8", fp8("tensor", (values.abs().max() / 448).reshape(1))
    yield "fp8 channel", "fp8-row", fp8("channel", rows)
    yield "fp8 channel, BF16 scales", "fp8-row", fp8("channel", rows.bfloat16())
    blocks = {"block_structure": [128, 128]}
    yield "fp8 block", "fp8-block-128", fp8("block", block_absmax(values, 128, 128) / 448, **blocks)
    small = {"block_structure": [64, 32]}
    yield "fp8 block 64x32", "e4m3-block-64x32", fp8("block", block_absmax(values, 64, 32) / 448, **small)
    yield "int8 channel", "int8-row", int8()
    yield "int4 groups with zero points", "int4-group-128-asym", int4(128)
    yield "nvfp4", "nvfp4", nvfp4()
    yield "mxfp8", "mxfp8", mxfp8()
    yield "weight_scale_inv", "fp8-block-128", hugging_face()


def judge(program, scheme, tensors, expected, config):
    """What is wrong with one format."""
    with tempfile.TemporaryDirectory() as folder:
        source, plain = Path(folder, "model.safetensors"), Path(folder, "plain.safetensors")
        save_file({f"a.{name}": tensor.contiguous() for name, tensor in tensors.items()}, source)
        Path(folder, "config.json").write_text(json.dumps({"quantization_config": config}))
        looked = subprocess.run([program, "inspect", source, "--json"], capture_output=True, check=True)
        found = [entry["scheme"] for entry in json.loads(looked.stdout)["quantized"]]
        decode = [program, "dequantize", source, "-o", plain, "--dtype", "f32", "--quiet"]
        run = subprocess.run(decode, capture_output=True, text=True)
        if run.returncode != 0:
            return [run.stderr.strip()]
        decoded = load_file(plain)
    defects = [] if found == [scheme] else [f"is read as {found}, not {scheme}"]
    if list(decoded) != ["a.weight"]:
        defects.append(f"decoded to {list(decoded)}")
    elif decoded["a.weight"].shape != expected.shape:
        defects.append(f"decoded to {decoded['a.weight'].shape}, not {expected.shape}")
    elif differs := int((decoded["a.weight"] != expected).sum()):
        defects.append(f"{differs} of {expected.numel()} numbers differ")
    return defects


def main():
    found = []
    for name, scheme, (tensors, expected, config) in formats():
        defects = judge(sys.argv[1], scheme, tensors, expected, config)
        found.append({"format": name, "numbers": expected.numel(), "defects": defects})
    print(json.dumps(found, indent=1))


if __name__ == "__main__":
    main()

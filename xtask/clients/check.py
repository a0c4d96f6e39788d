"""Judges one converted file with readers that share nothing with the converter. Prints JSON.

    python check.py --original F --converted F --scheme NAME --verify F.json [--legacy] [--kitchen]

Container, markers and decoding are done from raw bytes with numpy; the safetensors package must open
the file; with `--kitchen` the library that ComfyUI computes with must decode the same values.
"""

import argparse
import json
import sys
from pathlib import Path

sys.dont_write_bytecode = True
sys.path.insert(0, str(Path(__file__).resolve().parents[2] / "fixtures" / "scripts"))

import numpy as np

import container
import formats
import packed
from schemes import nearest

HEADER_KEY = "_quantization_metadata"
PROVENANCE_KEY = "roundwise"  # how the file was made
FORBIDDEN_DTYPES = {"F8_E8M0", "F4"}
FIGURE_TOLERANCE = 1e-6  # the converter sums F64 in another order


class Checks:
    """Counts what was compared and collects what was wrong."""

    def __init__(self):
        self.done = 0
        self.defects = []

    def expect(self, holds, defect):
        self.done += 1
        if not holds:
            self.defects.append(defect)


def read_weight(tensor):
    """A float matrix as F32, which holds BF16 and F16 exactly."""
    dtype, shape, data = tensor
    if dtype == "BF16":
        wide = np.frombuffer(data, "<u2").astype("<u4") << 16
        return wide.view("<f4").reshape(shape)
    return np.frombuffer(data, {"F32": "<f4", "F16": "<f2"}[dtype]).astype(np.float32).reshape(shape)


def markers_of(tensors, metadata, legacy, checks):
    """Marker by layer; contract items on markers, header and orphan scales."""
    if legacy:
        return legacy_markers(tensors, metadata, checks)
    suffix = ".comfy_quant"
    markers = {
        name.removesuffix(suffix): json.loads(bytes(tensor[2]))
        for name, tensor in tensors.items()
        if name.endswith(suffix)
    }
    header = json.loads(metadata.get(HEADER_KEY, "{}")).get("layers", {})
    checks.expect(header == markers, "header markers differ from the `comfy_quant` tensors")
    for name in tensors:
        layer, _, part = name.rpartition(".")
        if part.startswith("weight_") or part == "scale_weight":
            parts = parts_of(markers[layer]) if layer in markers else ()
            checks.expect(part in parts, f"{name}: orphan scale")
    return markers


def parts_of(marker):
    """Names of a layer's tensors, its marker aside."""
    return formats.PARTS.get(marker["format"], ("weight", "weight_scale"))


def legacy_markers(tensors, metadata, checks):
    """The markers that ComfyUI derives from `scale_weight` when it opens a legacy file."""
    marker = tensors.get("scaled_fp8")
    checks.expect(marker is not None and marker[0] == "F8_E4M3", "no `scaled_fp8` tensor")
    checks.expect(HEADER_KEY not in metadata, "header markers switch the legacy reader off")
    checks.expect(
        not any(name.endswith((".comfy_quant", ".weight_scale")) for name in tensors),
        "names of two layouts are mixed",
    )
    suffix = ".scale_weight"
    layers = [name.removesuffix(suffix) for name in tensors if name.endswith(suffix)]
    return {layer: {"format": "float8_e4m3fn"} for layer in layers}


def layers_of(tensors, markers, legacy, checks):
    """The quantized layers; one defect for each that cannot be understood."""
    scale_part = "scale_weight" if legacy else "weight_scale"
    for name, marker in sorted(markers.items()):
        try:
            if formats.is_packed(marker):
                yield formats.packed_layer(name, marker, tensors)
                checks.expect(True, "")
                continue
            weight, scale = tensors[f"{name}.weight"], tensors[f"{name}.{scale_part}"]
            yield formats.stored_layer(name, marker, weight, scale)
            checks.expect(True, "")
        except (KeyError, ValueError) as error:
            checks.expect(False, f"{name}: {error!r}")


def check_kept(original, converted, quantized, legacy, checks):
    """Everything that was not converted is the same, and nothing else was added."""
    (tensors, metadata), (out_tensors, out_metadata) = original, converted
    weights = {f"{layer}.weight" for layer in quantized}
    for name, tensor in tensors.items():
        if name not in weights:
            checks.expect(out_tensors.get(name) == tensor, f"{name}: kept, but not byte-identical")
    added = set()
    for layer, marker in quantized.items():
        own = ["scale_weight"] if legacy else [*parts_of(marker)[1:], "comfy_quant"] if marker else []
        added |= {f"{layer}.{part}" for part in own}
    added |= {"scaled_fp8"} if legacy else set()
    checks.expect(set(out_tensors) == set(tensors) | added, "names beyond those of the layout")
    added = (HEADER_KEY, PROVENANCE_KEY)
    kept_metadata = {key: text for key, text in out_metadata.items() if key not in added}
    checks.expect(kept_metadata == metadata, "header metadata differs")


def check_layer(layer, weight, scheme_name, figures, checks):
    """Codes and scales are the nearest ones, and the converter's own figure is true. Error, F64."""
    name, decoded = layer.name, layer.decoded()
    checks.expect(layer.bad_codes() == 0, f"{name}: {layer.bad_codes()} forbidden codes")
    checks.expect(bool(np.isfinite(decoded).all()), f"{name}: decodes to non-finite values")
    if scheme_name in packed.PACKED:
        check_packed(layer, weight, packed.PACKED[scheme_name], checks)
    else:
        check_tiled(layer, weight, scheme_name, checks)
    error = relative_error(decoded, weight)
    stated = figures.get(f"{name}.weight", figures.get(name))
    agrees = stated is not None and abs(stated - error) <= FIGURE_TOLERANCE
    checks.expect(agrees, f"{name}: error is {error:.9f}, `verify` says {stated}")
    return error


def check_tiled(layer, weight, scheme_name, checks):
    """Codes are the nearest, with one F32 scale per tile."""
    name = layer.name
    checks.expect(layer.marker == formats.MARKERS[scheme_name], f"{name}: marker {layer.marker}")
    codes, scales = nearest(weight, formats.wanted_scheme(scheme_name))
    same_scales = np.array_equal(scales, layer.scales)
    checks.expect(same_scales, f"{name}: scales differ from amax / largest code")
    checks.expect(np.array_equal(codes, layer.codes), f"{name}: codes are not the nearest")


def check_packed(layer, weight, scheme, checks):
    """Every tensor has the bytes of nearest rounding."""
    marker = scheme.marker(weight.shape)
    checks.expect(layer.marker == marker, f"{layer.name}: marker {layer.marker}")
    if scheme.family == "levels":
        check_levels(layer, weight, scheme, checks)
        return
    for part, (dtype, shape, data) in packed.tensors(weight, scheme).items():
        found = layer.parts[part]
        same = found[:2] == (dtype, shape) and bytes(found[2]) == data
        checks.expect(same, f"{layer.name}: {part} is not the nearest")


def check_levels(layer, weight, scheme, checks):
    """No weight has a level nearer than the one that it got; the last bit of a rotation may differ."""
    rotated = packed.rotate(weight, scheme.group(weight.shape[1]))
    chosen = packed.decode_rotated(layer.parts, scheme, weight.shape)
    distances = np.abs(packed.blocks(rotated, packed.LEVEL_GROUP)[..., None] - packed.choices(layer.parts)[:, :, None])
    best = distances.min(axis=3).reshape(weight.shape)
    slack = np.abs(rotated).max() * np.float32(2**-22)
    nearest = bool((np.abs(rotated - chosen) <= best + slack).all())
    checks.expect(nearest, f"{layer.name}: a level is not the nearest")


def relative_error(decoded, weight):
    """‖Ŵ − W‖ / ‖W‖ in F64."""
    weight = weight.astype(np.float64)
    size = np.linalg.norm(weight)
    return float(np.linalg.norm(decoded - weight) / size) if size else 0.0


def check_package(path, tensors, checks):
    """The safetensors package opens the file and sees the same headers."""
    from safetensors import safe_open

    with safe_open(path, "np") as file:
        names = file.keys()
        seen = {name: (file.get_slice(name).get_dtype(), file.get_slice(name).get_shape()) for name in names}
    ours = {name: (dtype, shape) for name, (dtype, shape, _data) in tensors.items()}
    checks.expect(seen == ours, "the safetensors package sees other headers")


def check_file(options, checks):
    """Every check of one file; the figures that the table shows."""
    original = container.open_file(options.original)
    tensors, metadata = converted = container.open_file(options.converted)
    check_package(options.converted, tensors, checks)
    for name, (dtype, _shape, _data) in tensors.items():
        checks.expect(dtype not in FORBIDDEN_DTYPES, f"{name}: header dtype {dtype}")
    markers = markers_of(tensors, metadata, options.legacy, checks)
    report = json.loads(Path(options.verify).read_text(encoding="utf-8"))
    checks.expect(report["ok"] is True, f"`verify` complains: {report.get('defects')}")
    figures = {layer["name"]: layer["weight_error"] for layer in report["layers"]}
    layers = list(layers_of(tensors, markers, options.legacy, checks))
    if options.scheme in ("fp16", "bf16"):
        # Nothing marks them; the converter says which they are.
        names = [name.removesuffix(".weight") for name in figures]
        layers = [formats.plain_layer(name, options.scheme, tensors) for name in names]
    check_kept(original, converted, {it.name: it.marker for it in layers}, options.legacy, checks)
    errors, linear = [], []
    for layer in layers:
        weight = read_weight(original[0][f"{layer.name}.weight"])
        errors.append(check_layer(layer, weight, options.scheme, figures, checks))
        if options.kitchen and layer.marker and layer.marker["format"] in formats.KITCHEN_LAYOUTS:
            import kitchen

            linear.append(kitchen.check_layer(layer, weight, checks))
    # Of weights in BF16 already nothing is rounded.
    checks.expect(bool(errors) or options.scheme == "bf16", "no layer was converted")
    return errors, linear


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    for name in ("--original", "--converted", "--scheme", "--verify"):
        parser.add_argument(name, required=True)
    parser.add_argument("--legacy", action="store_true", help="the file has layout comfy-legacy")
    parser.add_argument("--kitchen", action="store_true", help="decode with comfy-kitchen as well")
    checks = Checks()
    errors, linear = check_file(parser.parse_args(), checks)
    result = {
        "layers": len(errors),
        "checks": checks.done,
        "worst_weight_error": max(errors, default=None),
        "kitchen_layers": len(linear),
        "worst_linear_error": max(linear, default=None),
        "defects": checks.defects,
    }
    print(json.dumps(result))


if __name__ == "__main__":
    main()

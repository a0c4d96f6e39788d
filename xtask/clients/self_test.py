"""The judge notices what it should: a right file passes, and each way of being wrong is a defect."""

import json
import sys
import tempfile
import unittest
from pathlib import Path
from types import SimpleNamespace

sys.dont_write_bytecode = True

import check
import container
import formats
import matrices
import packed
from schemes import SCHEMES, decode, nearest

LAYER, SIDE = "blocks.0.ff", 128
ORIGINAL = {
    f"{LAYER}.weight": ("F32", [SIDE, SIDE], matrices.octaves(SIDE, SIDE).tobytes()),
    f"{LAYER}.bias": ("BF16", [2], bytes(4)),
}
METADATA = {"format": "pt"}


def converted(scheme_name):
    """Tensors, metadata and stated error of a right conversion."""
    if scheme_name in packed.PACKED:
        return converted_packed(packed.PACKED[scheme_name])
    scheme, marker = SCHEMES[scheme_name], formats.MARKERS[scheme_name]
    weight = matrices.octaves(SIDE, SIDE)
    codes, scales = nearest(weight, scheme)
    text = json.dumps(marker).encode()
    shape = formats.scale_shapes(marker["format"], scheme, [SIDE, SIDE])[0]
    tensors = ORIGINAL | {
        f"{LAYER}.weight": (scheme.grid.header_dtype, [SIDE, SIDE], codes.tobytes()),
        f"{LAYER}.weight_scale": ("F32", shape, scales.tobytes()),
        f"{LAYER}.comfy_quant": ("U8", [len(text)], text),
    }
    header = {"format_version": "1.0", "layers": {LAYER: marker}}
    metadata = METADATA | {check.HEADER_KEY: json.dumps(header)}
    return tensors, metadata, check.relative_error(decode(codes, scales, scheme), weight)


def converted_packed(scheme):
    """The same for packed codes."""
    weight = matrices.octaves(SIDE, SIDE)
    parts = packed.tensors(weight, scheme)
    marker = scheme.marker(weight.shape)
    tensors = ORIGINAL | {f"{LAYER}.{part}": tensor for part, tensor in parts.items()}
    metadata = dict(METADATA)
    if marker is not None:
        text = json.dumps(marker).encode()
        tensors |= {f"{LAYER}.comfy_quant": ("U8", [len(text)], text)}
        header = {"format_version": "1.0", "layers": {LAYER: marker}}
        metadata |= {check.HEADER_KEY: json.dumps(header)}
    decoded = packed.decode(parts, scheme, weight.shape)
    return tensors, metadata, check.relative_error(decoded, weight)


def defects(scheme, change=lambda tensors, metadata: None, error_shift=0.0):
    """What the judge says of a right file after `change`."""
    tensors, metadata, error = converted(scheme)
    change(tensors, metadata)
    with tempfile.TemporaryDirectory() as folder:
        paths = {name: Path(folder) / name for name in ("original", "converted", "verify")}
        paths["original"].write_bytes(container.encode(ORIGINAL, METADATA))
        paths["converted"].write_bytes(container.encode(tensors, metadata))
        layers = [{"name": f"{LAYER}.weight", "weight_error": error + error_shift}]
        paths["verify"].write_text(json.dumps({"ok": True, "defects": [], "layers": layers}))
        options = {name: str(path) for name, path in paths.items()}
        checks = check.Checks()
        check.check_file(SimpleNamespace(**options, scheme=scheme, legacy=False, kitchen=False), checks)
    return checks.defects


def with_bytes(part, at, byte):
    """A change of one byte of a tensor."""

    def change(tensors, _metadata):
        dtype, shape, data = tensors[f"{LAYER}.{part}"]
        tensors[f"{LAYER}.{part}"] = dtype, shape, data[:at] + bytes([byte]) + data[at + 1 :]

    return change


def with_shape(part, shape):
    """A tensor under another shape."""

    def change(tensors, _metadata):
        dtype, _shape, data = tensors[f"{LAYER}.{part}"]
        tensors[f"{LAYER}.{part}"] = dtype, shape, data

    return change


def without(part):
    """A file that lacks a tensor."""
    return lambda tensors, _metadata: tensors.pop(f"{LAYER}.{part}")


class Judge(unittest.TestCase):
    def expect(self, wanted, found):
        self.assertTrue(any(wanted in defect for defect in found), found)

    def test_right_files_pass(self):
        for scheme in [*formats.MARKERS, *packed.PACKED]:
            self.assertEqual(defects(scheme), [], scheme)

    def test_a_neighbouring_code_is_noticed(self):
        code = converted("fp8")[0][f"{LAYER}.weight"][2][0]
        self.expect("not the nearest", defects("fp8", with_bytes("weight", 0, code ^ 1)))

    def test_forbidden_codes_are_noticed(self):
        self.expect("forbidden", defects("fp8", with_bytes("weight", 5, 0x7F)))
        self.expect("forbidden", defects("fp8-e5m2", with_bytes("weight", 5, 0xFC)))
        self.expect("forbidden", defects("int8", with_bytes("weight", 5, 0x80)))
        self.expect("forbidden", defects("int4-convrot", with_bytes("weight", 5, 0x81)))
        self.expect("forbidden", defects("mxfp8", with_bytes("weight_scale", 0, 255)))
        self.expect("forbidden", defects("nvfp4", with_bytes("weight_scale", 0, 0x7F)))
        self.expect("forbidden", defects("int4-asym", with_bytes("weight_s_rel", 0, 0x7F)))

    def test_changed_packed_parts_are_noticed(self):
        for scheme, part in [("mxfp8", "weight"), ("nvfp4", "weight_scale"), ("fp16", "weight")]:
            byte = converted(scheme)[0][f"{LAYER}.{part}"][2][0]
            self.expect(f"{part} is not the nearest", defects(scheme, with_bytes(part, 0, byte ^ 1)))
        byte = converted("int4-asym")[0][f"{LAYER}.weight"][2][0]
        self.expect("not the nearest", defects("int4-asym", with_bytes("weight", 0, byte ^ 3)))
        self.expect("weight_scalar is not", defects("hybrid-mxfp8", with_bytes("weight_scalar", 3, 0)))
        self.expect("weight_scale is", defects("mxfp8", with_shape("weight_scale", [4, 128])))

    def test_a_changed_scale_is_noticed(self):
        self.expect("scales differ", defects("int8-row", with_bytes("weight_scale", 0, 1)))

    def test_scales_of_another_shape_are_noticed(self):
        self.expect("scales are", defects("int8-row", with_shape("weight_scale", [SIDE])))
        self.expect("scales are", defects("fp8-row", with_shape("weight_scale", [SIDE, 1])))

    def test_missing_parts_are_noticed(self):
        self.expect("KeyError", defects("fp8", without("weight_scale")))
        self.expect("orphan scale", defects("fp8", without("comfy_quant")))

    def test_changed_passengers_are_noticed(self):
        self.expect("byte-identical", defects("fp8", with_bytes("bias", 0, 1)))
        self.expect("byte-identical", defects("fp8", without("bias")))

    def test_header_and_markers_must_agree(self):
        self.expect("header markers", defects("fp8", lambda _, metadata: metadata.pop(check.HEADER_KEY)))
        self.expect("metadata differs", defects("fp8", lambda _, metadata: metadata.pop("format")))

    def test_a_false_figure_is_noticed(self):
        self.expect("error is", defects("fp8", error_shift=1e-5))


if __name__ == "__main__":
    unittest.main()

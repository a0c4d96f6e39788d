"""Adapters merged by the tool, beside ComfyUI's own merge."""

import json
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from safetensors.torch import load_file, save_file

import tree  # noqa: F401
import comfy.lora
from comparison import relative
from judge import said

FIXTURE = Path(__file__).resolve().parents[3] / "fixtures/golden/adapters.json"
TOLERANCE = 1e-6  # F32 has 24 bits, and sums of a dozen terms lose one or two of them

#: Where ComfyUI does otherwise than the trainers: the published formula is the judge.
OTHERWISE = ("dora by row", "lokr with a core", "oft bounded, at half", "oft rescaled")


@dataclass
class Merge:
    """A small weight and a module of an adapter."""

    name: str
    strength: float
    weight: torch.Tensor
    module: dict
    merged: torch.Tensor
    """By the published formula, in double precision."""

    kind = "adapter"

    def rows(self, judge, schemes):
        """One row: the schemes do not matter."""
        try:
            row = self.row(judge)
        except Exception as error:
            row = dict(defects=[said(error)])
        yield dict(case=self.name, kind=self.kind, scheme="merged") | row

    def row(self, judge):
        is_otherwise = self.name.removeprefix("merge ") in OTHERWISE
        ours = self.ours(judge)
        expected = self.merged if is_otherwise else self.comfyui()
        error = relative(ours, expected)
        defects = (
            [] if error <= TOLERANCE else [f"{error:.1e} from the {'formula' if is_otherwise else 'ComfyUI merge'}"]
        )
        subject = "the published formula" if is_otherwise else "ComfyUI's merge"
        return dict(subject=subject, output_error=error, defects=defects)

    def ours(self, judge):
        """The weight that a conversion leaves as numbers, with the adapter merged into it."""
        path, adapter = (judge.folder / f"merge-{part}.safetensors" for part in ("model", "adapter"))
        other = torch.randn(16, 16, generator=torch.Generator().manual_seed(0))
        save_file({"m.weight": self.weight, "other.weight": other}, path)
        save_file(self.module, adapter)
        output = path.with_name("merge-output.safetensors")
        flags = ["--scheme", "int8-row", "--merge-lora", f"{adapter}:{self.strength}"]
        if self.weight.ndim == 2:  # convolutions stay as they are
            flags += ["--keep", r"^m\.?"]
        answer = judge.program.run("convert", path, "-o", output, "--force", *flags)
        if answer.exit_code != 0:
            raise ValueError(answer.complaint)
        merged = load_file(output)["m.weight"]
        for file in (path, adapter, output):
            file.unlink()
        return merged

    def comfyui(self):
        """What ComfyUI makes of the same pair, in F32."""
        patches = comfy.lora.load_lora(dict(self.module), {"m": "m.weight"})
        parts = [(self.strength, patch, 1.0, None, None) for patch in patches.values()]
        return comfy.lora.calculate_weight(parts, self.weight.clone(), "m.weight", intermediate_dtype=torch.float32)


def tensor(stored):
    """A tensor of the fixture."""
    values = np.frombuffer(bytes.fromhex(stored["f32"]), "<f4")
    return torch.from_numpy(values.copy()).reshape(stored["shape"])


CASES = [
    Merge(
        name=f"merge {case['name']}",
        strength=case["strength"],
        weight=tensor(case["weight"]),
        module={name: tensor(value) for name, value in case["tensors"].items()},
        merged=tensor(case["merged"]),
    )
    for case in json.loads(FIXTURE.read_text())["cases"]
]

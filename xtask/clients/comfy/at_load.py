"""Adapters that ComfyUI adds when it loads a model, beside adapters that were merged before rounding."""

from dataclasses import dataclass
from typing import Any

import torch
from safetensors.torch import load_file, save_file

import tree  # noqa: F401
import comfy.lora
import comfy.sd
from comparison import relative
from judge import layers_in, said
from loaded import Loaded


def patched(loaded, adapter):
    """The model as *Load LoRA* makes it: every layer is decoded, changed and rounded again."""
    patcher, _ = comfy.sd.load_lora_for_models(loaded.owner, None, adapter, 1.0, 0.0)
    patcher.patch_model(torch.device("cpu"))
    return Loaded(patcher.model.diffusion_model, loaded.class_name, loaded.config, patcher)


@dataclass
class ErrorAdapter:
    """A case with the leading part of its rounding error beside it."""

    base: Any
    rank: int = 32

    kind = "at load"

    @property
    def name(self):
        return f"{self.base.name} with --extract-error-lora"

    def rows(self, judge, schemes):
        """A row for each scheme: what both loaders make of the adapter."""
        path = judge.folder / f"{self.base.name}_error.safetensors"
        save_file(self.base.tensors(), path)
        original = self.base.load(path)
        reference = self.base.output(original)
        facts = dict(case=self.name, kind=self.kind, class_name=original.class_name)
        for scheme in schemes[:2]:
            yield facts | dict(scheme=scheme) | self.row(judge, path, reference, scheme)
        path.unlink()

    def row(self, judge, path, reference, scheme):
        converted, answer = judge.convert(path, scheme, "--extract-error-lora", self.rank)
        if answer.exit_code != 0:
            return dict(defects=[f"convert: exit code {answer.exit_code}: {answer.complaint[:300]}"])
        file = converted.with_name(f"{converted.stem}-error-lora.safetensors")
        try:
            adapter = load_file(file)
            alone = relative(self.base.output(self.base.load(converted)), reference)
            bypass = relative(self.bypassed(self.base.load(converted), adapter), reference)
            loaded = self.base.load(converted)
            ordinary = relative(self.base.output(patched(loaded, adapter)), reference)
        except Exception as error:
            return dict(defects=[said(error)])
        layers = layers_in(converted)
        converted.unlink()
        file.unlink()
        said_so = "(Bypass)" in answer.text + answer.complaint
        defects = [] if said_so else ["the summary does not say which loader helps"]
        if bypass >= alone:
            defects.append(f"no better by the bypass loader: {bypass:.2%}, {alone:.2%} alone")
        note = f"Load LoRA {ordinary:.2%}, Load LoRA (Bypass) {bypass:.2%}"
        return dict(layers=layers, output_error=alone, note=note, defects=defects)

    def bypassed(self, loaded, adapter):
        """The output with the adapter's product added to that of every layer."""
        patcher, _ = comfy.sd.load_bypass_lora_for_models(loaded.owner, None, adapter, 1.0, 0.0)
        patcher.patch_model(torch.device("cpu"))
        return self.base.output(Loaded(patcher.model.diffusion_model, loaded.class_name, loaded.config, patcher))


@dataclass
class MergedAdapter:
    """A case with a random LoRA over all its layers, added at load or merged before rounding."""

    base: Any
    rank: int = 8
    size: float = 0.1
    """Of a change beside its weight."""

    kind = "at load"

    @property
    def name(self):
        return f"{self.base.name} with a LoRA"

    def rows(self, judge, schemes):
        """A row for each scheme: how far both are from the original with the LoRA."""
        path, file = (judge.folder / f"{self.base.name}_{part}.safetensors" for part in ("lora_base", "lora"))
        tensors = self.base.tensors()
        save_file(tensors, path)
        adapter = self.adapter(tensors)
        save_file(adapter, file)
        original = self.base.load(path)
        facts = dict(case=self.name, kind=self.kind, class_name=original.class_name)
        reference = self.base.output(patched(original, adapter))
        for scheme in schemes[:2]:
            yield facts | dict(scheme=scheme) | self.row(judge, path, file, adapter, reference, scheme)
        path.unlink()
        file.unlink()

    def adapter(self, tensors):
        """Two thin matrices for every layer of the blocks."""
        numbers = torch.Generator().manual_seed(5)
        adapter = {}
        for name, value in tensors.items():
            if value.ndim == 2 and "block" in name and name.endswith(".weight"):
                up = torch.randn(value.shape[0], self.rank, generator=numbers)
                down = torch.randn(self.rank, value.shape[1], generator=numbers)
                up *= self.size * value.float().norm() / (up @ down).norm()
                layer = f"diffusion_model.{name.removeprefix(self.base.prefix).removesuffix('.weight')}"
                adapter |= {f"{layer}.lora_up.weight": up, f"{layer}.lora_down.weight": down}
        return adapter

    def row(self, judge, path, file, adapter, reference, scheme):
        try:
            converted, answer = judge.convert(path, scheme)
            at_load = relative(self.base.output(patched(self.base.load(converted), adapter)), reference)
            merged, answer = judge.convert(path, scheme, "--merge-lora", file)
            if answer.exit_code != 0:
                return dict(defects=[f"convert: exit code {answer.exit_code}: {answer.complaint[:300]}"])
            before = relative(self.base.output(self.base.load(merged)), reference)
        except Exception as error:
            return dict(defects=[said(error)])
        layers = layers_in(merged)
        merged.unlink()
        defects = [] if before < at_load else [f"{before:.2%} merged, {at_load:.2%} at load"]
        return dict(layers=layers, output_error=before, note=f"at load {at_load:.2%}", defects=defects)

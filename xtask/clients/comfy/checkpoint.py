"""Whole checkpoints: a diffusion model with its text encoder in one file."""

from dataclasses import dataclass
from typing import Any

import torch

import tree
import comfy.sd
from diffusion import DETECTION
from encoder import SIZES
from loaded import Loaded


@dataclass
class Checkpoint:
    """A model and an encoder behind a prefix."""

    model: Any
    encoder: Any
    prefix: str

    kind = "checkpoint"
    tolerance = 2.0
    refused = False
    metadata = None

    @property
    def name(self):
        return f"{self.model.name}_with_{self.encoder.name.removeprefix('te_')}"

    def rows(self, judge, schemes):
        """A row for each of two schemes."""
        return judge.rows(self, schemes[:2])

    def tensors(self, dtype=torch.bfloat16):
        """The file's tensors."""
        encoder = self.encoder.tensors(dtype)
        return self.model.tensors(dtype) | {self.prefix + name: value for name, value in encoder.items()}

    def load(self, path):
        """Has Load Checkpoint open a file."""
        tree.COMPLAINTS.lines.clear()
        DETECTION.begin(self.model)
        SIZES.begin(self.encoder)
        patcher, clip, _, _ = comfy.sd.load_checkpoint_guess_config(str(path), output_vae=False, output_clip=True)
        encoder = self.encoder.encoder(clip).transformer
        return Loaded(
            network=torch.nn.ModuleDict({"model": patcher.model.diffusion_model, "encoder": encoder}),
            class_name=type(patcher.model.model_config).__name__,
            config={key: value for key, value in DETECTION.read[-1].items() if key != "dtype"},
            owner=patcher,
            complaints=list(tree.COMPLAINTS.lines),
        )

    def own_defects(self, loaded, scheme):
        """Encoders get codes where their loader has a path for them, and nowhere else."""
        coded = {name for name in loaded.coded() if name.startswith("encoder.")}
        if self.encoder.refused and coded:
            yield f"{len(coded)} layers of the text encoder are in codes"
        if not self.encoder.refused and not coded and not scheme.endswith("legacy"):
            yield "no layer of the text encoder is in codes"

    def output(self, loaded):
        """The model's output as one vector."""
        model = Loaded(loaded.network["model"], loaded.class_name, loaded.config, loaded.owner)
        return self.model.output(model)

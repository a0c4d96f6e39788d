"""Small diffusion models: built from ComfyUI's class, loaded by its loader, run on random inputs."""

import importlib
import re
from dataclasses import dataclass, field
from typing import Any, Callable

import torch

import tree
import comfy.model_detection
import comfy.ops
import comfy.sd
import comfy.supported_models_base
import random_weights
from loaded import Loaded


class Detection:
    """ComfyUI's detection of models, with widths that it knows by heart replaced by small ones.

    What it reads from a file stays what it read; the same widths hold for every file of a case.
    """

    def __init__(self):
        self.read = []
        self.widths = {}
        self.hidden_widths = {}
        from_names = comfy.model_detection.detect_unet_config
        from_diffusers = comfy.model_detection.unet_config_from_diffusers_unet
        construct = comfy.supported_models_base.BASE.__init__

        def detect(tensors, prefix, metadata=None):
            return self.replaced(from_names(tensors, prefix, metadata=metadata))

        def detect_diffusers(tensors, dtype=None):
            return self.replaced(from_diffusers(tensors, dtype))

        def base_init(model, config):
            construct(model, config)
            model.unet_config.update(self.hidden_widths)

        comfy.model_detection.detect_unet_config = detect
        comfy.model_detection.unet_config_from_diffusers_unet = detect_diffusers
        comfy.supported_models_base.BASE.__init__ = base_init

    def replaced(self, config):
        if config is None:
            return None
        self.read.append(dict(config))
        return config | self.widths

    def begin(self, case):
        """Forgets what was read; from now on the widths are this case's."""
        self.read.clear()
        self.widths = case.config | case.hidden
        self.hidden_widths = case.hidden


DETECTION = Detection()


@dataclass
class Diffusion:
    """A small diffusion model, and inputs for it. Tuples of numbers among the inputs are shapes."""

    name: str
    network: str
    """ComfyUI's class, below `comfy.`."""
    config: dict
    """What ComfyUI's detection reads from a file."""
    x: Any
    context: Any = None
    time: float | None = 0.7
    more: dict = field(default_factory=dict)
    """Further inputs."""
    hidden: dict = field(default_factory=dict)
    """What its detection knows by heart."""
    prefix: str = ""
    rename: Callable | None = None
    """From the class's names to those of published files."""
    absent: str | None = None
    """Pattern of names that published files do not have."""
    added: Callable | None = None
    """Adds tensors of published files that the class does not have."""
    metadata: dict | None = None
    """Entries of the file's header."""
    is_large: bool = False
    """Its class cannot be made small: two schemes must do."""
    is_checkpoint: bool = False
    """Opened by Load Checkpoint instead of Load Diffusion Model."""
    has_options: bool = True
    """The network takes `control` and `transformer_options`."""
    tolerance: float = 2.0
    """Times the error that noise of the weights' errors causes."""

    kind = "diffusion model"
    refused = False

    def rows(self, judge, schemes):
        """A row for each scheme."""
        return judge.rows(self, schemes[:2] if self.is_large else schemes)

    def tensors(self, dtype=torch.bfloat16):
        """The file's tensors."""
        module, name = self.network.rsplit(".", 1)
        build = getattr(importlib.import_module(f"comfy.{module}"), name)
        operations = comfy.ops.disable_weight_init
        network = build(**(self.config | self.hidden), device="cpu", dtype=torch.float32, operations=operations)
        tensors = random_weights.tensors_of(network, dtype)
        if self.rename:
            tensors = {self.rename(name): value for name, value in tensors.items()}
        if self.absent:
            tensors = {name: value for name, value in tensors.items() if not re.search(self.absent, name)}
        tensors = {self.prefix + name: value for name, value in tensors.items()}
        if self.added:
            self.added(tensors)
        return tensors

    def load(self, path):
        """Has ComfyUI open a file."""
        tree.COMPLAINTS.lines.clear()
        DETECTION.begin(self)
        if self.is_checkpoint:
            patcher = comfy.sd.load_checkpoint_guess_config(str(path), output_vae=False, output_clip=False)[0]
        else:
            patcher = comfy.sd.load_diffusion_model(str(path))
        model = patcher.model
        read = {key: value for key, value in DETECTION.read[-1].items() if key != "dtype"}
        return Loaded(
            network=model.diffusion_model,
            class_name=type(model.model_config).__name__,
            config=read,
            owner=patcher,
            complaints=list(tree.COMPLAINTS.lines),
        )

    def output(self, loaded):
        """The network's output as one vector."""
        dtype = loaded.owner.model.get_dtype_inference() or torch.float32
        numbers = torch.Generator().manual_seed(7)
        x = cast(drawn(self.x, numbers), dtype)
        first = x[0] if isinstance(x, list) else x
        time = [] if self.time is None else [torch.full((first.shape[0],), float(self.time))]
        more = {key: cast(drawn(value, numbers), dtype) for key, value in self.more.items()}
        if self.context is not None:
            more["context"] = cast(drawn(self.context, numbers), dtype)
        if self.has_options:
            more = {"control": None, "transformer_options": {}} | more
        with torch.no_grad():
            return flat(loaded.network(x, *time, **more))


def drawn(value, numbers):
    """An input: random numbers of a shape, the result of a function, or the value itself."""
    if callable(value):
        return value(numbers)
    if isinstance(value, tuple) and all(isinstance(size, int) for size in value):
        return torch.randn(*value, generator=numbers)
    if isinstance(value, list):
        return [drawn(part, numbers) for part in value]
    return value


def cast(value, dtype):
    """Floating numbers in another dtype."""
    if isinstance(value, list):
        return [cast(part, dtype) for part in value]
    return value.to(dtype) if torch.is_tensor(value) and value.is_floating_point() else value


def flat(output):
    """All numbers of an output, whatever it is made of."""
    if torch.is_tensor(output):
        return output.float().reshape(-1)
    parts = output.values() if isinstance(output, dict) else output
    parts = [part for part in parts if part is not None and not isinstance(part, (int, float, str))]
    return torch.cat([flat(part) for part in parts])

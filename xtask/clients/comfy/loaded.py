"""A model as ComfyUI has loaded it."""

from dataclasses import dataclass, field

import torch

import tree  # noqa: F401
import comfy.ops
import comfy.quant_ops

CODED = comfy.quant_ops.QuantizedTensor


@dataclass
class Loaded:
    """What ComfyUI made of a file."""

    network: torch.nn.Module
    class_name: str
    """ComfyUI's class of the model, or of the encoder's network."""
    config: dict
    """What its detection read from the file."""
    owner: object = None
    """Keeps alive what the network belongs to."""
    complaints: list = field(default_factory=list)

    def weights(self):
        """Every parameter by its name, numbers as tensors and codes as what can be decoded."""
        weights = {
            name: parameter if is_coded(parameter) else parameter.data
            for name, parameter in self.network.named_parameters()
        }
        for name, module in self.network.named_modules():
            if hasattr(module, "expert_weight") and is_coded(weights.get(f"{name}.weight")):
                weights[f"{name}.weight"] = Bank(module)
        return weights

    def coded(self):
        """The names of parameters in codes."""
        return {name for name, value in self.weights().items() if is_coded(value)}


class Bank:
    """The codes of a module for experts, each of which is decoded as the module does before it multiplies."""

    def __init__(self, module):
        self.module = module

    def dequantize(self):
        """The numbers of all experts."""
        experts = range(self.module.num_experts)
        return torch.stack([self.module.expert_weight(expert).dequantize() for expert in experts])


def is_coded(value):
    """Whether a parameter is in codes."""
    return isinstance(value, (CODED, Bank))


def numbers(value):
    """A parameter's numbers in F32."""
    return value.dequantize().float() if is_coded(value) else value.detach().float()

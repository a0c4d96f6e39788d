"""Random weights for a network: matrices small, gains near one, offsets smaller still."""

import re

import torch

#: Buffers that ComfyUI makes without setting them, for the file has them: whatever was in memory, a NaN at times.
UNSET = re.compile(r"(pos_embed|inv_freq|(positive|negative)_conditioning|adaln_t_table|beta|layer_scalar)$")

GAIN = re.compile(r"norm|ln_|\.scale$|gamma|weight_g$")


def drawn(name, shape, numbers):
    """Numbers for a parameter of this name. Rows of long matrices are narrower, so that outputs stay finite."""
    values = torch.randn(shape, generator=numbers)
    if len(shape) >= 2:
        width = values[0].numel()
        return values * (min(0.04, width**-0.5) if width > 64 else 0.1)
    is_offset = name.endswith(("bias", "beta"))
    if (GAIN.search(name) and not is_offset) or name.endswith(("weight", "scale")):
        return 1 + 0.1 * values
    return 0.02 * values


def tensors_of(network, dtype=torch.bfloat16, seed=0):
    """The network's tensors under its own names: its parameters random, its buffers as they are set."""
    numbers, of_buffers = (torch.Generator().manual_seed(seed) for _ in range(2))
    parameters = {name for name, _ in network.named_parameters()}
    tensors = {}
    for name, value in network.state_dict().items():
        if value.is_floating_point():
            if name in parameters:
                value = drawn(name, value.shape, numbers)
            elif UNSET.search(name):
                value = drawn(name, value.shape, of_buffers)
            value = value.bfloat16().to(dtype)
        tensors[name] = value.contiguous().clone()
    return tensors

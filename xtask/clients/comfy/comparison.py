"""Two files as ComfyUI has loaded them: the original, and what was made of it."""

import torch

from loaded import is_coded, numbers


def weight_errors(original, converted):
    """Relative error of every weight in codes."""
    weights, coded = original.weights(), converted.weights()
    return {
        name: relative(as_shaped(numbers(value), weights[name]), numbers(weights[name]))
        for name, value in coded.items()
        if is_coded(value) and name in weights
    }


def as_shaped(values, like):
    """Values without the rows and columns that blocks are filled up with."""
    return values[tuple(slice(0, size) for size in like.shape)]


def relative(values, original):
    """`‖values − original‖ / ‖original‖`."""
    return float((values - original).norm() / original.norm().clamp(min=1e-12))


def kept_defects(original, converted, allowed=0.0):
    """What is wrong with parameters that are not in codes."""
    weights, other = original.weights(), converted.weights()
    for name in sorted(set(weights) - set(other)):
        yield f"{name}: missing"
    for name in sorted(set(weights) & set(other)):
        if is_coded(other[name]):
            continue
        ours, theirs = numbers(other[name]), numbers(weights[name])
        if ours.shape != theirs.shape:
            yield f"{name}: shape {list(ours.shape)} instead of {list(theirs.shape)}"
        elif not torch.equal(ours, theirs) and relative(ours, theirs) > allowed:
            yield f"{name}: {relative(ours, theirs):.1e} from the original, though not in codes"


class Noise:
    """Random noise on a network's weights, each as far from the original as its error is large."""

    def __init__(self, original, errors, seed=0):
        self.parameters = dict(original.network.named_parameters())
        self.errors = errors
        self.numbers = torch.Generator().manual_seed(seed)
        self.kept = {}

    def __enter__(self):
        for name, error in self.errors.items():
            parameter = self.parameters[name]
            self.kept[name] = parameter.data.clone()
            values = parameter.data.float()
            noise = torch.randn(values.shape, generator=self.numbers)
            noise *= error * values.norm() / noise.norm()
            parameter.data.copy_(values + noise)

    def __exit__(self, *_):
        for name, values in self.kept.items():
            self.parameters[name].data.copy_(values)

"""Writes trajectories.json: what PyTorch's optimizers, and the ones defined elsewhere, do.

    python make.py        torch 2.15.0, prodigy-plus-schedule-free 2.0.1, numpy 2.4.6

Two problems, each with gradients written out in float32, so that every program sees the same bits:

    bowl   f = 1/2 sum a (x - b)^2
    chain  f = 1/4 sum a (x - b)^4 + 1/2 sum (x[i] - x[i+1])^2   over the flattened values

Nothing here is Prodigy's or PyTorch's own code; `gooddog` and `original` are direct transcriptions of
their formulas (contract 10.9 and 10.5) in float64.
"""

import json
import math
from pathlib import Path

import numpy as np
import torch
from prodigyplus.prodigy_plus_schedulefree import ProdigyPlusScheduleFree

STEPS = [1, 2, 3, 5, 8, 13, 40]


def problem(kind, shape, seed):
    random = np.random.default_rng(seed)
    a = random.uniform(0.5, 2.0, shape).astype(np.float32)
    b = random.normal(0.0, 1.0, shape).astype(np.float32)
    start = random.normal(0.0, 1.0, shape).astype(np.float32)
    return {"kind": kind, "a": a, "b": b, "start": start}


def gradient(p, x):
    d = (x - p["b"]).astype(np.float32)
    if p["kind"] == "bowl":
        return p["a"] * d
    flat = x.reshape(-1)
    links = np.zeros_like(flat)
    difference = flat[:-1] - flat[1:]
    links[:-1] += difference
    links[1:] -= difference
    return p["a"] * d * d * d + links.reshape(x.shape)


def run_torch(make, p, rate):
    variable = torch.nn.Parameter(torch.from_numpy(p["start"].copy()))
    optimizer = make([variable], rate)
    path = {}
    for step in range(1, STEPS[-1] + 1):
        variable.grad = torch.from_numpy(gradient(p, variable.detach().numpy()).copy())
        optimizer.step()
        path[step] = variable.detach().numpy().copy()
    return path


def run_numpy(step_of, p, rate):
    x, state, path = p["start"].astype(np.float64), {}, {}
    for step in range(1, STEPS[-1] + 1):
        g = gradient(p, x.astype(np.float32)).astype(np.float64)
        x = step_of(x, g, step, rate, state)
        path[step] = x.copy()
    return path


def original(x, g, t, rate, state):
    return x - rate * g / np.linalg.norm(g)


def gooddog(invariant, decay):
    def step(x, g, t, rate, state):
        s = state.setdefault("s", np.zeros_like(x))
        squares = state.setdefault("v", [np.ones_like(x), np.ones_like(x)])
        g = g / max(1.0, math.sqrt(np.mean(g * g)))
        h = np.sin(np.arctan(g)) if invariant else g
        s[:] = 0.9 * s + 0.1 * np.sign(h)
        d = h
        for v, beta in zip(squares, (0.96, 1 - 1e-7)):
            d = np.arctan2(d, np.sqrt(v)) * 4 / math.pi
            b = (beta**t - beta) / (beta**t - 1)
            v[:] = b * v + (1 - b) * h * h
        d = np.abs(d) * s
        if invariant:
            d = np.arctan2(d, np.cos(np.arctan(g))) * 4 / math.pi
        return x * (1 - rate * decay * 0.995**t) - rate * d

    return step


def prodigy(**options):
    return lambda variables, rate: ProdigyPlusScheduleFree(
        variables, lr=rate, use_schedulefree=False, **options
    )


o = torch.optim
CASES = {
    "sgd": (0.05, lambda v, r: o.SGD(v, r)),
    "sgd-decay": (0.05, lambda v, r: o.SGD(v, r, weight_decay=0.1)),
    "sgd-momentum": (0.02, lambda v, r: o.SGD(v, r, momentum=0.9, weight_decay=0.01)),
    "sgd-nesterov": (0.02, lambda v, r: o.SGD(v, r, momentum=0.9, nesterov=True)),
    "adam": (0.05, lambda v, r: o.Adam(v, r)),
    "adam-decay": (0.05, lambda v, r: o.Adam(v, r, weight_decay=0.1)),
    "adamw": (0.05, lambda v, r: o.AdamW(v, r)),
    "radam": (0.05, lambda v, r: o.RAdam(v, r)),
    "radam-decoupled": (0.05, lambda v, r: o.RAdam(v, r, weight_decay=0.1, decoupled_weight_decay=True)),
    "rmsprop": (0.01, lambda v, r: o.RMSprop(v, r)),
    "rmsprop-momentum": (0.01, lambda v, r: o.RMSprop(v, r, momentum=0.5, weight_decay=0.1)),
    "prodigy": (1.0, prodigy()),
    "prodigy-fast": (1.0, prodigy(d0=1e-2, d_coef=2.0, weight_decay=0.1)),
    "original": (0.05, original),
    "gooddog": (0.05, gooddog(True, 0.0)),
    "gooddog-plain": (0.05, gooddog(False, 0.1)),
}
# The second one is factored by Prodigy.
SHAPES = [("bowl", (6, 5), 1), ("chain", (3, 40), 2)]


def numbers(array):
    return [float(f"{value:.9g}") for value in np.asarray(array).reshape(-1)]


def rates(make, first, values):
    """What a PyTorch schedule makes of these values; the rate of the move after each of them."""
    variable = torch.nn.Parameter(torch.zeros(1))
    optimizer = o.SGD([variable], first)
    schedule = make(optimizer)
    found = []
    for value in values:
        if isinstance(schedule, o.lr_scheduler.ReduceLROnPlateau):
            schedule.step(value)
            found.append(optimizer.param_groups[0]["lr"])
        else:
            found.append(optimizer.param_groups[0]["lr"])
            optimizer.step()
            schedule.step()
    return found


def main():
    problems = [problem(*each) for each in SHAPES]
    written = {"problems": [], "paths": [], "rates": []}
    for (kind, shape, _), p in zip(SHAPES, problems):
        arrays = {name: numbers(p[name]) for name in ("a", "b", "start")}
        written["problems"].append({"kind": kind, "shape": list(shape), **arrays})
    for name, (rate, rule) in CASES.items():
        for index, p in enumerate(problems):
            by_numpy = name.startswith(("original", "gooddog"))
            path = (run_numpy if by_numpy else run_torch)(rule, p, rate)
            # Every third value of the larger problem is enough to tell two optimizers apart.
            keep = 1 if index == 0 else 3
            # Near its goal GOODDOG follows signs of gradients that are rounding errors.
            steps = STEPS[:-1] if name.startswith("gooddog") else STEPS
            points = [{"step": s, "values": numbers(path[s].reshape(-1)[::keep])} for s in steps]
            entry = {"optimizer": name, "problem": index, "rate": rate, "every": keep}
            written["paths"].append({**entry, "points": points})
    values = np.random.default_rng(3).normal(0.0, 1.0, 60)
    values = numbers(10.0 * np.exp(-0.05 * np.arange(60)) + 0.3 * np.abs(values))
    s = o.lr_scheduler
    for name, make in {
        "cosine": lambda x: s.CosineAnnealingLR(x, 60, eta_min=1e-3),
        "exponential": lambda x: s.ExponentialLR(x, 0.97),
        "plateau": lambda x: s.ReduceLROnPlateau(
            x, factor=0.5, patience=2, cooldown=1, threshold=1e-2, min_lr=1e-3, eps=0.0
        ),
    }.items():
        found = numbers(rates(make, 0.1, values))
        written["rates"].append({"schedule": name, "first": 0.1, "values": values, "rates": found})
    text = json.dumps(written, separators=(",", ":")).replace('{"optimizer"', '\n{"optimizer"')
    Path(__file__).with_name("trajectories.json").write_text(text + "\n")


if __name__ == "__main__":
    main()

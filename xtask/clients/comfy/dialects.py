"""From the model's own names to those of other dialects, by code that shares nothing with what is tested."""

import re
import tomllib
import types
from pathlib import Path

import torch

import tree  # noqa: F401

TABLES = Path(__file__).resolve().parents[3] / "crates/convert/dialects"


def by_comfyui(key_map):
    """By a map of ComfyUI's from diffusers' names to its own, turned around."""

    def renamed(tensors):
        # Its maps name FLUX's norms as its class does.
        tensors = {re.sub(r"_norm\.scale$", "_norm.weight", name): value for name, value in tensors.items()}
        renamed, used = {}, set()
        for theirs, target in key_map().items():
            ours, part, change = (target, None, None) if isinstance(target, str) else (*target, None)[:3]
            if ours not in tensors or (isinstance(target, str) and ours in used):
                continue
            used.add(ours)
            value = tensors[ours] if part is None else tensors[ours].narrow(*part)
            # Its changes are exchanges of halves, which undo themselves.
            renamed[theirs] = (change(value) if change else value).contiguous().clone()
        return complete(tensors, used, renamed)

    return renamed


def complete(tensors, used, renamed):
    """Renamed tensors, all of them."""
    left = sorted(set(tensors) - set(used))
    if left:
        raise ValueError(f"no name in this dialect for {left[:4]}")
    return renamed


def by_diffusers(function, width=None, also=None):
    """By diffusers' own conversion of single files. Some know the width or the depth of the published model by heart.

    `also` has names of its models that the conversion does not know.
    """

    def renamed(tensors):
        import diffusers.loaders.single_file_utils as conversions

        convert = getattr(conversions, function)
        if width:
            convert = types.FunctionType(with_constant(convert.__code__, *width), convert.__globals__)
        converted = convert(dict(tensors))
        return {(also or {}).get(name, name): value.contiguous().clone() for name, value in converted.items()}

    return renamed


def with_constant(code, published, ours):
    """Code of a function with another number in one place."""
    constants = (
        with_constant(constant, published, ours) if isinstance(constant, types.CodeType) else constant
        for constant in code.co_consts
    )
    return code.replace(co_consts=tuple(ours if constant == published else constant for constant in constants))


def by_table(name):
    """By the table itself, turned around: no other program has these names in a form that could be used."""

    def renamed(tensors):
        renamed, used = {}, set()
        for ours, theirs, rule in rules_of(name, tensors):
            if ours in tensors and ours not in used:
                used.add(ours)
                renamed.update(zip(theirs, parts(tensors[ours], len(theirs), rule)))
        renamed = {key: value.contiguous().clone() for key, value in renamed.items()}
        return complete(tensors, used, renamed)

    return renamed


def rules_of(name, tensors):
    """Names of ours, names of theirs and what is done to the rows, for every tensor that a table could mean."""
    table = tomllib.loads((TABLES / f"{name}.toml").read_text())
    numbers = sorted({part for key in tensors for part in key.split(".") if part.isdigit()}, key=int)
    for group in table["group"]:
        layers = {name: name for name in group.get("same", [])} | group.get("layers", {})
        whole = {name: name for name in group.get("same_tensors", [])} | group.get("tensors", {})
        named = [(ours, of, (".weight", ".bias")) for ours, of in layers.items()]
        named += [(ours, of, ("",)) for ours, of in whole.items()]
        has_number = "{i}" in group.get("ours", "")
        for number in numbers if has_number else [""]:
            place = [group.get(side, "").replace("{i}", number) for side in ("ours", "theirs")]
            for ours, of, ends in named:
                rule = of if isinstance(of, dict) else {}
                theirs = rule.get("of", of)
                theirs = [theirs] if isinstance(theirs, str) else theirs
                for end in ends:
                    yield f"{place[0]}{ours}{end}", [f"{place[1]}{part}{end}" for part in theirs], rule
    for included in table.get("include", []):
        yield from rules_of(included, tensors)


def parts(tensor, count, rule):
    """The rows of a tensor as its parts have them."""
    if rule.get("halves") == "swapped":
        first, second = tensor.chunk(2)
        tensor = torch.cat([second, first])
    if "square" not in rule:
        return tensor.chunk(count)
    width = tensor.shape[1] if tensor.ndim > 1 else tensor.shape[0] // (rule["square"] + 4)
    squares = rule["square"] * width
    return [*tensor[:squares].chunk(rule["square"]), tensor[squares:]]

"""What ComfyUI makes of a converted file, beside what it makes of the original."""

import gc

import torch
from safetensors import safe_open
from safetensors.torch import save_file

from comparison import Noise, kept_defects, relative, weight_errors

#: Smallest and largest error of a layer's weights, by scheme. Random normal numbers, so they are alike everywhere.
WEIGHT_ERRORS = {
    "fp8": (0.02, 0.033),
    "fp8-e5m2": (0.04, 0.066),
    # Of a few columns the largest is hardly larger than the others.
    "int8": (0.002, 0.03),
    "int8-row": (0.002, 0.02),
    "int8-row-convrot": (0.002, 0.02),
    "mxfp8": (0.02, 0.04),
    "nvfp4": (0.07, 0.12),
    "int4-convrot": (0.08, 0.22),
    "int4-asym": (0.05, 0.13),
}
#: What an output may differ by whatever noise does: sums of BF16 round as much.
ROUNDED = 1e-3
#: The scheme that stores what each case has.
PLAIN = "bf16"


class Judge:
    """One binary, and a folder for its files."""

    def __init__(self, program, folder):
        self.program = program
        self.folder = folder

    def rows(self, case, schemes):
        """One row for each scheme; one alone if the original does not run."""
        path = self.folder / f"{case.name}.safetensors"
        try:
            save_file(case.tensors(), path, case.metadata)
            original = case.load(path)
            output = case.output(original)
        except Exception as error:
            yield dict(
                case=case.name, kind=case.kind, scheme="-", defects=[f"the original does not run: {said(error)}"]
            )
            return
        plan = self.program.run("plan", "--json", path).json()
        facts = dict(
            case=case.name,
            kind=case.kind,
            class_name=original.class_name,
            subject=plan.get("architecture"),
            preset=plan.get("preset"),
        )
        for scheme in [*schemes, PLAIN] if case.refused else schemes:
            is_refused = case.refused and scheme != PLAIN
            row = self.refusal(path, scheme) if is_refused else self.row(case, path, original, output, scheme)
            yield facts | dict(scheme=scheme) | row
            gc.collect()
        path.unlink()

    def subject(self, path):
        """What the tool says that a file is."""
        return self.program.run("inspect", "--json", path).json().get("architecture")

    def convert(self, path, scheme, *more):
        """Converts a file, by default if the scheme is. Returns the output and the answer."""
        output = path.with_name(f"{path.stem}-{scheme}.safetensors")
        flags = {"default": [], "fp8-legacy": ["--scheme", "fp8", "--layout", "comfy-legacy"]}
        flags = flags.get(scheme, ["--scheme", scheme])
        return output, self.program.run("convert", path, "-o", output, "--force", *flags, *more)

    def refusal(self, path, scheme):
        """The row of a file that must get no codes."""
        output, answer = self.convert(path, scheme)
        if answer.exit_code == 0:
            output.unlink()
            return dict(defects=["converted, though ComfyUI takes codes of it for weights"])
        return dict(refused=True, defects=[])

    def row(self, case, path, original, reference, scheme):
        """What ComfyUI makes of a converted file."""
        converted, answer = self.convert(path, scheme)
        if answer.exit_code != 0:
            return dict(defects=[f"convert: exit code {answer.exit_code}: {answer.complaint[:300]}"])
        try:
            return self.judged(case, converted, original, reference, scheme)
        except Exception as error:
            return dict(defects=[said(error)])
        finally:
            converted.unlink()

    def judged(self, case, path, original, reference, scheme):
        layers = layers_in(path)
        loaded = case.load(path)
        output = case.output(loaded)
        errors = weight_errors(original, loaded)
        defects = list(self.defects(original, loaded, layers, errors, scheme))
        if hasattr(case, "own_defects"):
            defects += case.own_defects(loaded, scheme)
        row = dict(layers=layers, weight_error=max(errors.values(), default=0.0))
        if not torch.isfinite(reference).all():
            return row | dict(note="the original's output is not finite", defects=defects)
        if not torch.isfinite(output).all():
            return row | dict(defects=[*defects, "the output is not finite"])
        row["output_error"] = relative(output, reference)
        with Noise(original, errors):
            row["noise_error"] = relative(case.output(original), reference)
        # Noise may turn choices of deep networks that rounding leaves; an output that does not move is not of codes.
        lowest, highest = row["noise_error"] / 20, max(row["noise_error"] * case.tolerance, ROUNDED)
        if not lowest <= row["output_error"] <= highest:
            found, expected = row["output_error"], row["noise_error"]
            defects.append(f"output {found:.2%} from the original's, where noise gives {expected:.2%}")
        return row | dict(defects=defects)

    def defects(self, original, loaded, layers, errors, scheme):
        """What is wrong with a file as it was loaded."""
        if loaded.class_name != original.class_name:
            yield f"class {loaded.class_name} instead of {original.class_name}"
        if loaded.config != original.config:
            yield f"another configuration: {differing(original.config, loaded.config)}"
        if len(errors) != layers:
            yield f"{len(errors)} layers in codes, of {layers} that were written"
        if layers == 0 and scheme != PLAIN:
            yield "no layer in codes"
        yield from first(list(kept_defects(original, loaded)))
        lowest, highest = WEIGHT_ERRORS.get(scheme.removesuffix("-legacy"), WEIGHT_ERRORS["fp8"])
        far = [name for name, error in errors.items() if not lowest <= error <= highest]
        yield from first([f"{name}: {errors[name]:.2%} from the original" for name in far])
        for line in loaded.complaints:
            if line not in original.complaints:
                yield f"ComfyUI complains: {line[:200]}"


def layers_in(path):
    """How many layers of a file are in codes, by its own names."""
    with safe_open(path, "pt") as file:
        names = list(file.keys())
    return sum(name.endswith((".comfy_quant", ".scale_weight")) for name in names)


def differing(one, other):
    """The entries in which two configurations differ."""
    keys = sorted(key for key in one.keys() | other.keys() if one.get(key) != other.get(key))
    return ", ".join(f"{key} {other.get(key)} instead of {one.get(key)}" for key in keys)


def first(defects, limit=3):
    """The first defects of a kind, and how many more there are."""
    more = len(defects) - limit
    return defects[:limit] + ([f"… {more} more"] if more > 0 else [])


def said(error):
    """An exception in one line."""
    return f"{type(error).__name__}: {' '.join(str(error).split())[:300]}"

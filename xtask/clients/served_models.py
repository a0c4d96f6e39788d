"""What transformers makes of folders that `roundwise convert --for transformers` writes.

    python served_models.py ROUNDWISE FOLDER [--short]

Makes small models of random weights with transformers itself, converts each with every scheme and
spelling, loads the result with transformers and compressed-tensors on the CPU, and compares with the
model that has the numbers which `roundwise dequantize` gives: weights bit for bit, and what the model
answers. Prints what it found as JSON. Needs torch, accelerate, compressed-tensors and transformers.
"""

import contextlib
import importlib.util
import io
import json
import logging
import re
import subprocess
import sys
from importlib.metadata import version
from pathlib import Path
from shutil import copy

import torch
import transformers
from transformers import AutoModelForCausalLM

transformers.logging.set_verbosity_error()
transformers.logging.disable_progress_bar()
logging.getLogger("compressed_tensors").setLevel(logging.ERROR)

SIZES = {
    "hidden_size": 256,
    "intermediate_size": 384,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "head_dim": 64,
    "vocab_size": 512,
    "max_position_embeddings": 256,
}


#: Name, class of the configuration, what differs from SIZES.
MODELS = [
    ("llama", "LlamaConfig", {"tie_word_embeddings": False}),
    ("qwen3, tied", "Qwen3Config", {"tie_word_embeddings": True}),
    ("gemma3", "Gemma3TextConfig", {"sliding_window": 64}),
    ("gemma3 with vision", "Gemma3Config", {"sliding_window": 64}),
    ("phi3", "Phi3Config", {"pad_token_id": 0}),
    ("granite", "GraniteConfig", {}),
    ("qwen3 moe", "Qwen3MoeConfig", {"num_experts": 4, "num_experts_per_tok": 2, "moe_intermediate_size": 128}),
    ("mixtral", "MixtralConfig", {"num_local_experts": 4}),
    ("phimoe", "PhimoeConfig", {"num_local_experts": 4, "num_experts_per_tok": 2}),
    ("gpt-oss", "GptOssConfig", {"num_local_experts": 4, "num_experts_per_tok": 2, "sliding_window": 64}),
]

#: The part that sees of a model that has one; the other sizes are those of its text.
VISION = {
    "hidden_size": 64,
    "intermediate_size": 128,
    "num_hidden_layers": 1,
    "num_attention_heads": 4,
    "image_size": 56,
    "patch_size": 14,
}
WITH_VISION = {"gemma3 with vision": {"mm_tokens_per_image": 4}}

#: Scheme, spelling, and whether inputs of layers become codes, too.
CASES = [
    ("fp8", "compressed-tensors", True),
    ("fp8-row", "compressed-tensors", True),
    ("fp8-block-128", "compressed-tensors", True),
    ("fp8-block-128", "fp8", False),
    ("int8-row", "compressed-tensors", True),
    ("int8-group-128", "compressed-tensors", False),
    ("int4-row", "compressed-tensors", False),
    ("int4-group-128", "compressed-tensors", False),
    ("int4-group-64", "compressed-tensors", False),
    ("int4-group-32", "compressed-tensors", False),
    ("nvfp4", "compressed-tensors", False),
    ("mxfp4", "compressed-tensors", False),
    ("mxfp8", "compressed-tensors", False),
]
#: Cases that transformers cannot open where a model has experts: it joins these when it loads them. roundwise is to
#: refuse them.
NOT_OF_EXPERTS = {
    ("fp8-block-128", "compressed-tensors"),
    ("int8-row", "compressed-tensors"),
    ("nvfp4", "compressed-tensors"),
    ("mxfp8", "compressed-tensors"),
}
WITH_EXPERTS = {"qwen3 moe", "mixtral", "phimoe"}
#: Models whose experts lie in one tensor, which is kept but in the layout that has codes for it: without being named,
#: the one for the scheme.
WITH_BANKS = {"gpt-oss"}
OF_BANKS = ("mxfp4", "mxfp4", False, [])
#: Models that choose experts for each token.
CHOOSING = WITH_EXPERTS | WITH_BANKS

#: Schemes with scales of inputs in the file, from statistics, and what their codes may change answers by. For those of
#: experts transformers has no place.
STATIC = [("fp8", 0.12), ("nvfp4", 0.5)]

#: Two schemes in one file.
MIXED = ("int4-group-128", ["--rule", "o_proj=fp8-row"])

#: Largest change of what a model answers, relative to its largest answer, that 8-bit inputs make: each may be
#: off by 2^-4 of itself in FP8, layer after layer, and the weights have a column of outliers.
INPUT_CODES = 0.12
#: The same where such a change can send a token to another expert.
EXPERT_CHOICE = 0.75


def make_models(folder, is_short):
    for name, kind, options in MODELS[:2] if is_short else MODELS:
        path = folder / re.sub(r"\W+", "-", name)
        sizes = {**SIZES, **options}
        if name in WITH_VISION:
            sizes = {"text_config": sizes, "vision_config": VISION, **WITH_VISION[name]}
        config = getattr(transformers, kind)(**sizes)
        torch.manual_seed(1)
        model = AutoModelForCausalLM.from_config(config).to(torch.bfloat16)
        with torch.no_grad():
            for weight in model.parameters():
                if weight.dim() == 2:
                    weight[:, 3] *= 6
        model.save_pretrained(path)
        (path / "tokenizer.json").write_text('{"made": "for a test"}')
        yield name, path


def run(program, *arguments):
    done = subprocess.run([program, *map(str, arguments)], capture_output=True, text=True)
    if done.returncode != 0:
        raise RuntimeError(done.stderr.strip())


def answer(model):
    tokens = torch.arange(7, 71).reshape(2, 32) * 5 % 512
    with torch.no_grad():
        return model(tokens).logits.float()


def statistics(program, source, folder):
    """Statistics of what `answer` shows a model."""
    collector, path = folder / "roundwise_collect.py", folder / "model.stats.safetensors"
    printed = subprocess.run([program, "stats", "collector"], capture_output=True, check=True)
    collector.write_bytes(printed.stdout)
    spec = importlib.util.spec_from_file_location("roundwise_collect", collector)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    model = AutoModelForCausalLM.from_pretrained(source, dtype=torch.bfloat16)
    with contextlib.redirect_stderr(io.StringIO()), module.collect(model) as collecting:
        answer(model)
    with contextlib.redirect_stderr(io.StringIO()):
        collecting.save(path)
    return path


def differing(model, reference):
    """Parameters that are not those of a reference. Experts are joined in both."""
    parameters = dict(model.named_parameters())
    for name, values in reference.named_parameters():
        found = parameters.get(name)
        if found is None or not torch.equal(found.float(), values.float()):
            yield name


def judge(program, source, folder, scheme, layout, allowed, more):
    """(largest relative change of an answer, bytes, defects) of a conversion."""
    output, decoded = folder / "converted", folder / "decoded"
    report = output.with_suffix(".json")
    run("rm", "-rf", output, decoded, report)
    decoded.mkdir()
    options = ["--for", "transformers", "--scheme", scheme, "--quiet"]
    options += ["--layout", layout] if layout and (scheme, layout) != OF_BANKS[:2] else []
    run(program, "convert", source, *options, *more, "-o", output, "--report", report)
    # Numbers that transformers rounds once, to the dtype of the model.
    run(program, "dequantize", output, "-o", decoded / "model.safetensors", "--dtype", "f32", "--quiet")
    copy(source / "config.json", decoded)
    size = sum(path.stat().st_size for path in output.glob("*.safetensors"))
    model, told = AutoModelForCausalLM.from_pretrained(output, dtype=torch.bfloat16, output_loading_info=True)
    defects = [f"{kind}: {sorted(names)}" for kind, names in told.items() if names]
    unknown = (json.loads(report.read_text()).get("rounding") or {}).get("layers_without_statistics")
    defects += [f"no statistics of {unknown}"] if unknown else []
    found = answer(model)
    reference = AutoModelForCausalLM.from_pretrained(decoded, dtype=torch.bfloat16)
    defects += [f"`{name}` differs from its decoded numbers" for name in differing(model, reference)]
    expected = answer(reference)
    change = float((found - expected).abs().max() / expected.abs().max())
    if change > allowed:
        defects.append(f"answers change by {change:.2g} of the largest")
    method = json.loads((output / "config.json").read_text())["quantization_config"]["quant_method"]
    if (scheme, layout) == OF_BANKS[:2] and method != layout:
        defects.append(f"is {method} by its configuration")
    if (output / "tokenizer.json").read_text() != (source / "tokenizer.json").read_text():
        defects.append("its tokenizer is another")
    return change, size, defects


def refused(program, source, folder, scheme, layout):
    """What is found where roundwise is to say that transformers does not open the result."""
    options = ["--for", "transformers", "--scheme", scheme, "--layout", layout]
    done = subprocess.run(
        [program, "convert", source, *options, "-o", folder / "refused"], capture_output=True, text=True
    )
    is_told = done.returncode == 2 and "transformers does not read" in done.stderr
    return {"change": None, "bytes": 0, "defects": [] if is_told else [f"is not refused: {done.stderr.strip()}"]}


def cases(program, source, folder, name, is_further):
    """(scheme, what is special, layout, how far answers may change, further options) of a model."""
    of_codes = EXPERT_CHOICE if name in CHOOSING else INPUT_CODES
    # Further models are there for their architecture.
    for scheme, layout, codes in CASES[1::4] if is_further else CASES:
        yield scheme, "", layout, of_codes if codes else 0.0, []
    if is_further:
        return
    yield MIXED[0], ", mixed", None, of_codes, MIXED[1]
    if name in WITH_BANKS:
        yield OF_BANKS[0], "", OF_BANKS[1], 0.0, []
    known = ["--stats", statistics(program, source, folder)]
    if name in WITH_EXPERTS:
        yield "int4-group-128", ", learned", "compressed-tensors", 0.0, known
        return
    for scheme, allowed in STATIC:
        allowed = EXPERT_CHOICE if name in CHOOSING else allowed
        yield scheme, ", static", "compressed-tensors", allowed, [*known, "--inputs", "static", "--method", "nearest"]


def main():
    program, folder = Path(sys.argv[1]).resolve(), Path(sys.argv[2])
    is_short = "--short" in sys.argv
    folder.mkdir(parents=True, exist_ok=True)
    torch.set_num_threads(1)
    found = []
    for number, (name, source) in enumerate(make_models(folder, is_short)):
        for scheme, kind, layout, allowed, more in cases(program, source, folder, name, number > 0 and is_short):
            entry = {"model": name, "scheme": scheme + kind, "layout": layout or "mixed"}
            is_refused = name in WITH_EXPERTS and not kind and (scheme, layout) in NOT_OF_EXPERTS
            try:
                if is_refused:
                    found.append({**entry, **refused(program, source, folder, scheme, layout)})
                    continue
                change, size, defects = judge(program, source, folder, scheme, layout, allowed, more)
            except Exception as error:  # noqa: BLE001, one broken file must not hide the others
                change, size, defects = None, 0, [f"{type(error).__name__}: {error}"]
            found.append({**entry, "change": change, "bytes": size, "defects": defects})
    packages = ["transformers", "compressed-tensors", "torch"]
    versions = {package: version(package) for package in packages}
    print(json.dumps({"versions": versions, "findings": found}, indent=1))


if __name__ == "__main__":
    main()

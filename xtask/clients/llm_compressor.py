"""What llm-compressor makes of a transformers folder.

    python llm_compressor.py nearest SCHEME FOLDER OUTPUT
    python llm_compressor.py gptq SCHEME --texts F [--tokens N] FOLDER OUTPUT

`nearest` rounds weights as they come, without the model, by `model_free_ptq`. `gptq` has the model read a text on
each line, up to --tokens of it, and rounds by `GPTQModifier` as it is set without being told otherwise. The embedding
and the head stay as they are. Needs llmcompressor.
"""

import argparse

KEPT = ["lm_head", "re:.*embed_tokens"]


def nearest(options):
    from llmcompressor import model_free_ptq

    model_free_ptq(options.folder, options.output, scheme=options.scheme, ignore=KEPT, device="cpu")


def gptq(options):
    import torch
    from datasets import Dataset
    from llmcompressor import oneshot
    from llmcompressor.modifiers.gptq import GPTQModifier
    from transformers import AutoModelForCausalLM, AutoTokenizer

    model = AutoModelForCausalLM.from_pretrained(options.folder, dtype=torch.float32)
    tokenizer = AutoTokenizer.from_pretrained(options.folder)
    with open(options.texts, encoding="utf-8", errors="replace") as file:
        texts = [line.strip() for line in file if line.strip()]
    read = [tokenizer(text, truncation=True, max_length=options.tokens) for text in texts]
    rows = [{"input_ids": row["input_ids"], "attention_mask": row["attention_mask"]} for row in read]
    oneshot(
        model=model,
        dataset=Dataset.from_list(rows),
        recipe=GPTQModifier(targets="Linear", scheme=options.scheme, ignore=KEPT),
        num_calibration_samples=len(rows),
        max_seq_length=options.tokens,
    )
    model.save_pretrained(options.output, save_compressed=True)
    tokenizer.save_pretrained(options.output)


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("task", choices=["nearest", "gptq"])
    parser.add_argument("scheme")
    parser.add_argument("--texts")
    parser.add_argument("--tokens", type=int, default=512)
    parser.add_argument("folder")
    parser.add_argument("output")
    options = parser.parse_intermixed_args()
    {"nearest": nearest, "gptq": gptq}[options.task](options)


if __name__ == "__main__":
    main()

"""A small causal language model, made here, and what rounding does to it. Prints JSON.

    python language_model.py make --texts F FOLDER
    python language_model.py judge --texts F FOLDER CONVERTED...

`make` trains a Llama of 4 blocks on the texts from the 65th on and saves it as a transformers folder,
with a byte-pair tokenizer of the same texts. `judge` is the mean over the tokens of the first 64 texts of
the KL divergence, in nats, of each converted model's next-token distribution from the float model's.
"""

import argparse
import json
import sys
from pathlib import Path

sys.dont_write_bytecode = True

import torch
import torch.nn.functional as functional
import transformers
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers

import outputs

HELD_OUT = 64
TOKENS = 128
VOCABULARY = 1024
BEGIN = "<s>"
STEPS, BATCH, RATE = 300, 8, 3e-3


def make_tokenizer(texts):
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    trainer = trainers.BpeTrainer(
        vocab_size=VOCABULARY, special_tokens=[BEGIN], initial_alphabet=alphabet
    )
    tokenizer.train_from_iterator(texts, trainer)
    return transformers.PreTrainedTokenizerFast(
        tokenizer_object=tokenizer, bos_token=BEGIN, eos_token=BEGIN
    )


def encoded(tokenizer, texts):
    """Every text after the token that begins one, in one row."""
    begin = tokenizer.bos_token_id
    return torch.tensor([token for text in texts for token in [begin, *tokenizer.encode(text)]])


def make(options):
    torch.manual_seed(1)
    texts = outputs.read_texts(options.texts, HELD_OUT, 1 << 20)
    tokenizer = make_tokenizer(texts)
    tokens = encoded(tokenizer, texts)
    config = transformers.LlamaConfig(
        vocab_size=len(tokenizer),
        hidden_size=192,
        intermediate_size=512,
        num_hidden_layers=4,
        num_attention_heads=6,
        num_key_value_heads=6,
        max_position_embeddings=512,
        tie_word_embeddings=False,
        bos_token_id=tokenizer.bos_token_id,
        eos_token_id=tokenizer.eos_token_id,
    )
    model = transformers.LlamaForCausalLM(config)
    optimizer = torch.optim.AdamW(model.parameters(), lr=RATE, weight_decay=0.1)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, RATE, total_steps=STEPS)
    for step in range(STEPS):
        starts = torch.randint(len(tokens) - TOKENS, (BATCH,))
        batch = torch.stack([tokens[start : start + TOKENS] for start in starts])
        loss = model(input_ids=batch, labels=batch).loss
        optimizer.zero_grad()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        schedule.step()
        if step % 50 == 0:
            print(f"step {step}: loss {loss.item():.3f}", file=sys.stderr)
    model.save_pretrained(options.folder)
    tokenizer.save_pretrained(options.folder)
    print(json.dumps({"tokens": len(tokens), "loss": loss.item()}))


def judge(options):
    folder = options.folder
    tokenizer = transformers.AutoTokenizer.from_pretrained(folder)
    model = transformers.AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32).eval()
    tokens = encoded(tokenizer, outputs.read_texts(options.texts, 0, HELD_OUT))
    rows = tokens[: len(tokens) // TOKENS * TOKENS].view(-1, TOKENS)
    with torch.no_grad():
        expected = distributions(model, rows)
        loss = -expected[:, :-1].gather(2, rows[:, 1:, None]).mean().item()
        results = []
        for path in options.converted:
            model.load_state_dict(outputs.read_model(path))
            found = distributions(model, rows)
            divergence = functional.kl_div(found, expected, reduction="sum", log_target=True)
            results.append({"kl": divergence.item() / rows.numel()})
    print(json.dumps({"tokens": rows.numel(), "loss": loss, "results": results}))


def distributions(model, rows):
    logits = [model(input_ids=part).logits for part in rows.split(16)]
    return functional.log_softmax(torch.cat(logits).double(), -1)


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("task", choices=["make", "judge"])
    parser.add_argument("--texts", required=True)
    parser.add_argument("folder")
    parser.add_argument("converted", nargs="*")
    options = parser.parse_args()
    {"make": make, "judge": judge}[options.task](options)


if __name__ == "__main__":
    main()

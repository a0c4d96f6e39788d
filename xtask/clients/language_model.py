"""Causal language models and what rounding does to them. Prints JSON.

    python language_model.py make --texts F FOLDER
    python language_model.py open --gguf F FOLDER
    python language_model.py judge --texts F [--tokens N] FOLDER CONVERTED...
    python language_model.py collect --texts F [--count N] FOLDER

`make` trains a Llama of 4 blocks on the texts from the 65th on and saves it as a transformers folder,
with a byte-pair tokenizer of the same texts. `open` makes a folder of a GGUF file's numbers in F32, and in
it `layers.safetensors`, the weights without the embedding. `judge` is the mean over tokens of the first 64
texts, in rows of --length, of the KL divergence, in nats, of each converted model's next-token distribution
from the float model's; tensors that a converted file lacks are the float model's. `collect` reads the texts
from the 65th on with and without the collector of crates/stats, turn by turn, and tells the times.
"""

import argparse
import json
import sys
import time
from pathlib import Path

sys.dont_write_bytecode = True
sys.path.insert(0, str(Path(__file__).resolve().parents[2] / "crates" / "stats" / "collector"))

import safetensors.torch
import torch
import torch.nn.functional as functional
import transformers
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers

import outputs
from roundwise_collect import collect

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
    tokens = [[begin, *tokenizer.encode(text, add_special_tokens=False)] for text in texts]
    return torch.tensor([token for text in tokens for token in text])


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


def open_gguf(options):
    """The file's numbers as a transformers folder: the library reads it, and saves no such model."""
    place = {"gguf_file": options.gguf.name}
    tokenizer = transformers.AutoTokenizer.from_pretrained(options.gguf.parent, **place)
    automatic = transformers.AutoModelForCausalLM
    read = automatic.from_pretrained(options.gguf.parent, dtype=torch.float32, **place)
    del read.config.quantization_config
    model = type(read)(read.config)
    model.load_state_dict(read.state_dict())
    tokenizer.save_pretrained(options.folder)
    layers = {
        name: tensor.contiguous()
        for name, tensor in model.state_dict().items()
        if tensor.dim() < 2 or ".layers." in name
    }
    safetensors.torch.save_file(layers, Path(options.folder) / "layers.safetensors", {"format": "pt"})
    model.save_pretrained(options.folder)
    print(json.dumps({"weights": sum(tensor.numel() for tensor in layers.values())}))


def opened(folder):
    tokenizer = transformers.AutoTokenizer.from_pretrained(folder)
    model = transformers.AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32).eval()
    return tokenizer, model


def judge(options):
    tokenizer, model = opened(options.folder)
    tokens = encoded(tokenizer, outputs.read_texts(options.texts, 0, HELD_OUT))[: options.tokens]
    rows = tokens[: len(tokens) // options.length * options.length].view(-1, options.length)
    with torch.no_grad():
        expected = Answers(model, rows)
        found = []
        for path in options.converted:
            tensors = outputs.read_model(path)
            unknown = model.load_state_dict(tensors, strict=False).unexpected_keys
            assert not unknown, unknown
            found.append(Answers(model, rows))
        loss, divergences = compared(expected, found, rows)
    results = [{"kl": divergence} for divergence in divergences]
    print(json.dumps({"tokens": rows.numel(), "loss": loss, "results": results}))


class Answers:
    """What a model answers to rows of tokens, as its last hidden states: a distribution over a large
    vocabulary takes hundreds of times as much memory."""

    def __init__(self, model, rows):
        hidden = [model.model(input_ids=part).last_hidden_state for part in rows.split(4)]
        self.hidden = torch.cat(hidden).flatten(0, 1)
        weight = model.lm_head.weight
        is_tied = weight is model.model.embed_tokens.weight
        self.head = weight.detach() if is_tied else weight.detach().clone()

    def distributions(self, start, end):
        return functional.log_softmax(self.hidden[start:end] @ self.head.T, -1)


def compared(expected, found, rows, step=64):
    """Mean loss of the one and mean divergences of the others, by token."""
    loss, divergences = 0.0, [0.0] * len(found)
    following = torch.cat([rows[:, 1:], -torch.ones_like(rows[:, :1])], 1).flatten()
    for start in range(0, rows.numel(), step):
        p = expected.distributions(start, start + step)
        target = following[start : start + step]
        known = target >= 0
        loss -= p[known].gather(1, target[known, None]).double().sum().item()
        for index, answers in enumerate(found):
            q = answers.distributions(start, start + step)
            divergences[index] += (p.exp() * (p - q)).sum(dtype=torch.float64).item()
    return loss / (following >= 0).sum().item(), [sum_ / rows.numel() for sum_ in divergences]


KINDS = {"plain": {"moments": ("plain",)}, "mixed": {}, "curvature": {"curvature": True}}


def measure_collecting(options):
    tokenizer, model = opened(options.folder)
    texts = outputs.read_texts(options.texts, HELD_OUT, options.count)
    rows = [encoded(tokenizer, [text])[: options.length][None] for text in texts]
    seconds = {}

    def read(row, kind):
        # Of the processor: whatever else the machine does must not count.
        start = time.process_time()
        model(input_ids=row)
        seconds[kind] = seconds.get(kind, 0.0) + time.process_time() - start

    memory = {}
    with torch.no_grad():
        model(input_ids=rows[0])
        for kind, settings in KINDS.items():
            with collect(model, memory=8 << 30, **settings) as collector:
                # The first call makes the sums.
                model(input_ids=rows[0])
                for row in rows:
                    collector.is_paused = True
                    read(row, f"{kind} run alone")
                    collector.is_paused = False
                    read(row, kind)
            memory[kind] = collector.memory_bytes()
    ratios = {kind: seconds[kind] / seconds[f"{kind} run alone"] for kind in KINDS}
    print(json.dumps({"tokens": sum(row.numel() for row in rows), "ratios": ratios, "memory": memory}))


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("task", choices=["make", "open", "judge", "collect"])
    parser.add_argument("--texts")
    parser.add_argument("--gguf", type=Path)
    parser.add_argument("--tokens", type=int, default=1 << 20)
    parser.add_argument("--length", type=int, default=TOKENS)
    parser.add_argument("--count", type=int, default=8)
    parser.add_argument("folder")
    parser.add_argument("converted", nargs="*")
    options = parser.parse_args()
    tasks = {"make": make, "open": open_gguf, "judge": judge, "collect": measure_collecting}
    tasks[options.task](options)


if __name__ == "__main__":
    main()

"""Causal language models and what rounding does to them. Prints JSON.

    python language_model.py make --texts F FOLDER
    python language_model.py open --gguf F FOLDER
    python language_model.py judge --texts F [--tokens N] [--length N] [--layers N] FOLDER CONVERTED...
    python language_model.py collect --texts F [--count N] FOLDER

`make` trains a Llama of 4 blocks on the texts from the 65th on and saves it as a transformers folder,
with a byte-pair tokenizer of the same texts. `open` makes a folder of a GGUF file's numbers in F32, and in
it `layers.safetensors`, the weights without the embedding. `judge` is the mean over tokens of the first 64
texts, each from the token that begins one and up to --length of it, of the KL divergence, in nats, of each
converted model's next-token distribution from the float model's; tensors that a converted file lacks are the
float model's. With --layers N, up to N of the layers of each file, evenly spaced, are judged alone. `collect`
reads the texts from the 65th on with and without the collector of crates/stats, turn by turn, and tells the
times.
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
    rows = held_out_rows(tokenizer, options)
    own = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    with torch.no_grad():
        expected = Expected(model, rows)
        results = []
        for path in options.converted:
            tensors = outputs.read_model(path)
            unknown = model.load_state_dict(tensors, strict=False).unexpected_keys
            assert not unknown, unknown
            if options.layers is None:
                results.append({"kl": expected.divergence(model)})
                continue
            changed = [n for n, tensor in tensors.items() if not torch.equal(tensor, own[n])]
            model.load_state_dict(own)
            layers = []
            for name in changed[:: max(1, -(-len(changed) // options.layers))]:
                model.load_state_dict({name: tensors[name]}, strict=False)
                layers.append({"name": name, "kl": expected.divergence(model)})
                model.load_state_dict({name: own[name]}, strict=False)
            results.append({"layers": layers})
    tokens = sum(len(row) for row in rows)
    print(json.dumps({"tokens": tokens, "loss": expected.loss, "results": results}))


def held_out_rows(tokenizer, options):
    """As a model reads them: what comes first in a row gathers attention, so that rows which begin within a
    text are another task."""
    rows, left = [], options.tokens
    for text in outputs.read_texts(options.texts, 0, HELD_OUT):
        row = encoded(tokenizer, [text])[: min(options.length, left)]
        if len(row):
            rows.append(row)
            left -= len(row)
    return rows


# Words of which every divergence is computed, the likeliest first. The rest of a large vocabulary is drawn by
# its probabilities, evenly spaced: on Gemma's 262,144 words it holds one per cent of the mass.
LIKELY, DRAWN = 1024, 512


class Expected:
    """The float model's answers to rows of tokens, for others to be compared with: last hidden states, and the
    words that count with their weights."""

    def __init__(self, model, rows):
        self.rows, self.head = rows, model.lm_head.weight.detach().clone()
        self.hidden = self.hidden_of(model)
        following = torch.cat([torch.cat([row[1:], row.new_tensor([-1])]) for row in rows])
        generator = torch.Generator().manual_seed(1)
        self.words, self.weights, losses = [], [], []
        for hidden, target in zip(self.hidden.split(32), following.split(32)):
            p = torch.softmax(hidden @ self.head.T, -1)
            known = target >= 0
            losses.append(-p[known].gather(1, target[known, None]).double().log())
            words, weights = chosen(p, generator)
            self.words.append(words)
            self.weights.append(weights)
        self.loss = torch.cat(losses).mean().item()

    def hidden_of(self, model):
        hidden = [model.model(input_ids=row[None]).last_hidden_state[0] for row in self.rows]
        return torch.cat(hidden)

    def divergence(self, model):
        """Mean over tokens of sum p (log p - log q)."""
        head = model.lm_head.weight.detach()
        is_same = torch.equal(head, self.head)
        total, place = 0.0, 0
        hidden = self.hidden_of(model)
        for words, weights in zip(self.words, self.weights):
            for word, weight in zip(words, weights):
                rows = self.head[word]
                before = rows @ self.hidden[place]
                change = ((rows if is_same else head[word]) @ hidden[place] - before).double()
                # Of the same words, log q - log p is the change of scores less the log of its mean power.
                mean = weight @ change
                total += (weight @ (change - mean).exp()).log().item()
                place += 1
        return total / place


def chosen(p, generator):
    """Words [t, k] and their weights, which sum to 1."""
    if p.shape[1] <= LIKELY + DRAWN:
        return torch.arange(p.shape[1]).expand(p.shape), p.double()
    weights, words = p.topk(LIKELY)
    rest = p.scatter(1, words, 0.0).double().cumsum(1)
    mass = rest[:, -1:]
    chances = (torch.arange(DRAWN) + torch.rand(len(p), 1, generator=generator)) / DRAWN
    drawn = torch.searchsorted(rest, chances * mass).clamp(max=p.shape[1] - 1)
    weights = torch.cat([weights.double(), (mass / DRAWN).expand(-1, DRAWN)], 1)
    return torch.cat([words, drawn], 1), weights / weights.sum(1, keepdim=True)


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
    parser.add_argument("--layers", type=int)
    parser.add_argument("--count", type=int, default=8)
    parser.add_argument("folder")
    parser.add_argument("converted", nargs="*")
    options = parser.parse_intermixed_args()
    tasks = {"make": make, "open": open_gguf, "judge": judge, "collect": measure_collecting}
    tasks[options.task](options)


if __name__ == "__main__":
    main()

"""What rounding does to a real sentence encoder. Prints JSON.

    python outputs.py --original F --tokenizer tokenizer.json --texts F [--first N] [--count N] CONVERTED...

The float model runs on real text once; at every linear layer its inputs also go through the decoded
layer of each converted file: `output_error` is the mean over layers of
‖x(Ŵ − W)ᵀ + b' − b‖² / ‖xWᵀ + b‖².
Then each converted model runs by itself: `embedding_error` is the mean of 1 − cosine to the float
model's sentence embeddings. All in F32.
"""

import argparse
import json
import sys
from pathlib import Path

sys.dont_write_bytecode = True
sys.path.insert(0, str(Path(__file__).resolve().parents[2] / "fixtures" / "scripts"))

import numpy as np
import torch
import torch.nn.functional as functional
from tokenizers import Tokenizer

import check
import container

# Part names of a block, by model family.
BERT = {
    "query": "attention.self.query",
    "key": "attention.self.key",
    "value": "attention.self.value",
    "output": "attention.output.dense",
    "attention_norm": "attention.output.LayerNorm",
}
MPNET = {
    "query": "attention.attn.q",
    "key": "attention.attn.k",
    "value": "attention.attn.v",
    "output": "attention.attn.o",
    "attention_norm": "attention.LayerNorm",
}
RELATIVE = "encoder.relative_attention_bias.weight"
MOST_TOKENS = 128


def read_model(path):
    """Every tensor of a file as F32, codes decoded."""
    tensors, metadata = container.open_file(path)
    checks = check.Checks()
    markers = check.markers_of(tensors, metadata, False, checks)
    model = {
        layer.name + ".weight": torch.from_numpy(layer.decoded().astype(np.float32))
        for layer in check.layers_of(tensors, markers, False, checks)
    }
    assert not checks.defects, checks.defects
    parts = {f"{layer}.{part}" for layer, marker in markers.items() for part in check.parts_of(marker)}
    for name, tensor in tensors.items():
        if name not in model and name not in parts and tensor[0] in ("F32", "F16", "BF16"):
            model[name] = torch.from_numpy(check.read_weight(tensor).copy())
    return model


class Encoder:
    """BERT or MPNet, post-norm blocks, mean pooling."""

    def __init__(self, model):
        self.model = model
        self.is_mpnet = RELATIVE in model
        self.parts = MPNET if self.is_mpnet else BERT
        self.width = model["embeddings.word_embeddings.weight"].shape[1]
        self.heads = model[RELATIVE].shape[1] if self.is_mpnet else 12
        self.blocks = sum(name.endswith("intermediate.dense.weight") for name in model)
        self.norm_error = 1e-5 if self.is_mpnet else 1e-12

    def norm(self, name, x):
        weight, bias = self.model[f"{name}.weight"], self.model[f"{name}.bias"]
        return functional.layer_norm(x, (self.width,), weight, bias, self.norm_error)

    def linear(self, name, x):
        return functional.linear(x, self.model[f"{name}.weight"], self.model[f"{name}.bias"])

    def embed(self, tokens):
        # MPNet counts positions from its padding index 1 on.
        first = 2 if self.is_mpnet else 0
        x = self.model["embeddings.word_embeddings.weight"][tokens]
        x = x + self.model["embeddings.position_embeddings.weight"][first : first + len(tokens)]
        if not self.is_mpnet:
            x = x + self.model["embeddings.token_type_embeddings.weight"][0]
        return self.norm("embeddings.LayerNorm", x)

    def attend(self, block, x, linear):
        shape = (len(x), self.heads, -1)
        query, key, value = (
            linear(block + self.parts[part], x).view(shape).transpose(0, 1)
            for part in ("query", "key", "value")
        )
        bias = self.position_bias(len(x)) if self.is_mpnet else None
        mixed = functional.scaled_dot_product_attention(query, key, value, attn_mask=bias)
        return linear(block + self.parts["output"], mixed.transpose(0, 1).reshape(len(x), -1))

    def position_bias(self, length):
        """T5's buckets: 32, both directions, distances up to 128."""
        position = torch.arange(length)
        distance = position[:, None] - position[None, :]
        bucket = (distance < 0).long() * 16
        distance = distance.abs()
        far = 8 + (torch.log(distance.clamp(min=1) / 8) / np.log(128 / 8) * 8).long()
        bucket += torch.where(distance < 8, distance, far.clamp(max=15))
        return self.model[RELATIVE][bucket].permute(2, 0, 1)

    def run(self, tokens, linear):
        """The sentence's embedding, length 1."""
        x = self.embed(tokens)
        for index in range(self.blocks):
            block = f"encoder.layer.{index}."
            attended = self.attend(block, x, linear)
            x = self.norm(block + self.parts["attention_norm"], x + attended)
            inner = functional.gelu(linear(block + "intermediate.dense", x))
            x = self.norm(block + "output.LayerNorm", x + linear(block + "output.dense", inner))
        return functional.normalize(x.mean(0), dim=0)


class Comparison:
    """One converted model, and its layers' errors on the float model's inputs."""

    def __init__(self, path):
        self.encoder = Encoder(read_model(path))
        self.errors = {}
        self.cosines = []

    def layer(self, name, x, expected):
        energy, error = self.errors.get(name, (0.0, 0.0))
        difference = self.encoder.linear(name, x) - expected
        error += float(difference.square().sum())
        self.errors[name] = energy + float(expected.square().sum()), error

    def result(self):
        errors = [error / energy for energy, error in self.errors.values()]
        return {
            "embedding_error": 1 - float(np.mean(self.cosines)),
            "output_error": float(np.mean(errors)),
            "layers": {name: error / energy for name, (energy, error) in self.errors.items()},
        }


def compare(original, tokens, comparisons):
    def linear(name, x):
        output = original.linear(name, x)
        for comparison in comparisons:
            comparison.layer(name, x, output)
        return output

    embedding = original.run(tokens, linear)
    for comparison in comparisons:
        encoder = comparison.encoder
        comparison.cosines.append(float(embedding @ encoder.run(tokens, encoder.linear)))


def tokenizer_of(path):
    tokenizer = Tokenizer.from_file(path)
    tokenizer.no_padding()
    tokenizer.enable_truncation(MOST_TOKENS)
    return tokenizer


def read_texts(path, first, count):
    """So many lines of a file."""
    return Path(path).read_text("utf-8", "replace").splitlines()[first : first + count]


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--original", required=True)
    parser.add_argument("--tokenizer", required=True)
    parser.add_argument("--texts", required=True)
    parser.add_argument("--first", type=int, default=0)
    parser.add_argument("--count", type=int, default=100)
    parser.add_argument("converted", nargs="+")
    options = parser.parse_args()

    tokenizer = tokenizer_of(options.tokenizer)
    texts = read_texts(options.texts, options.first, options.count)
    original = Encoder(read_model(options.original))
    comparisons = [Comparison(path) for path in options.converted]
    with torch.no_grad():
        for text in texts:
            compare(original, torch.tensor(tokenizer.encode(text).ids), comparisons)
    results = [comparison.result() for comparison in comparisons]
    print(json.dumps({"texts": len(texts), "results": results}))


if __name__ == "__main__":
    main()

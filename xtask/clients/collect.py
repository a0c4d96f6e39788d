"""Statistics of a real sentence encoder's layer inputs. Prints JSON.

    python collect.py --model F --tokenizer tokenizer.json --texts F -o model.stats.safetensors

Texts `--first` to `--first` + `--count` are each encoded twice, without and with the collector of
crates/stats; the times of both are printed.
"""

import argparse
import json
import sys
import time
from pathlib import Path

sys.dont_write_bytecode = True
sys.path.insert(0, str(Path(__file__).resolve().parents[2] / "crates" / "stats" / "collector"))

import torch

import outputs
from roundwise_collect import collect


class Model(torch.nn.Module):
    """The encoder with its linear layers as modules under their names in the file."""

    def __init__(self, path):
        super().__init__()
        tensors = outputs.read_model(path)
        self.encoder_ = outputs.Encoder(tensors)
        self.linears = {}
        for name, weight in tensors.items():
            layer = name.removesuffix(".weight")
            # The pooler is there, and nobody calls it.
            is_linear = weight.dim() == 2 and f"{layer}.bias" in tensors
            if is_linear and layer.startswith("encoder."):
                self.add(layer, weight, tensors[f"{layer}.bias"])

    def add(self, layer, weight, bias):
        module = torch.nn.Linear(weight.shape[1], weight.shape[0])
        module.weight, module.bias = torch.nn.Parameter(weight), torch.nn.Parameter(bias)
        self.linears[layer] = module
        parent, *path = self, *layer.split(".")
        for part in path[:-1]:
            if part not in parent._modules:
                parent.add_module(part, torch.nn.Module())
            parent = parent._modules[part]
        parent.add_module(path[-1], module)

    def forward(self, tokens):
        return self.encoder_.run(tokens, lambda name, x: self.linears[name](x))


def seconds(model, tokens):
    start = time.perf_counter()
    model(tokens)
    return time.perf_counter() - start


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--model", required=True)
    parser.add_argument("--tokenizer", required=True)
    parser.add_argument("--texts", required=True)
    parser.add_argument("--first", type=int, default=0)
    parser.add_argument("--count", type=int, default=300)
    parser.add_argument("--full-limit", type=int, default=4096)
    parser.add_argument("--rank", type=int, default=64)
    parser.add_argument("-o", "--output", required=True)
    options = parser.parse_args()

    tokenizer = outputs.tokenizer_of(options.tokenizer)
    texts = outputs.read_texts(options.texts, options.first, options.count)
    batches = [torch.tensor(tokenizer.encode(text).ids) for text in texts]
    model = Model(options.model)
    plain = collecting = 0.0
    with torch.no_grad(), collect(model, options.full_limit, options.rank) as collector:
        for tokens in batches:
            # Turn by turn, so that whatever else the machine does slows down both.
            collector.is_paused = True
            plain += seconds(model, tokens)
            collector.is_paused = False
            collecting += seconds(model, tokens)
    start = time.perf_counter()
    collector.save(options.output)
    print(
        json.dumps(
            {
                "texts": len(texts),
                "tokens": sum(map(len, batches)),
                "plain_seconds": plain,
                "collecting_seconds": collecting,
                "saving_seconds": time.perf_counter() - start,
            }
        )
    )


if __name__ == "__main__":
    main()

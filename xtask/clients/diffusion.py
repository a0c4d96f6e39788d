"""What statistics do to a small diffusion transformer. Prints JSON.

    python diffusion.py ROUNDWISE FOLDER [--steps N]

A transformer with 4 blocks of attention is trained on scikit-learn's 1797 pictures of digits, 8×8, to turn noise into
a digit that is asked for (kept in FOLDER). Statistics are of 256 generated pictures, 20 steps each. Then
`ROUNDWISE convert` makes files with each kind of statistics, and each file's model is compared with the float model on
noise that no statistics have seen: squared error of one step's output, and of the pictures that 20 steps make, both over
the energy of what the float model makes. Needs scikit-learn's data beside what outputs.py needs.
"""

import argparse
import importlib.util
import json
import subprocess
import sys
from pathlib import Path

sys.dont_write_bytecode = True
sys.path.insert(0, str(Path(__file__).resolve().parents[2] / "crates" / "stats" / "collector"))

import numpy as np
import safetensors.torch
import torch
import torch.nn.functional as functional

import outputs
from roundwise_collect import collect

WIDTH, HEADS, DEPTH, PATCH, SIZE, CLASSES = 128, 4, 4, 2, 8, 10
TOKENS, CHANNELS = (SIZE // PATCH) ** 2, PATCH * PATCH
BATCH, RATE, STEPS = 128, 1e-3, 20

# Kinds of statistics: what `collect` is asked for.
KNOWLEDGE = {
    "nearest": None,
    "plain": {"moments": ("plain",)},
    "mixed": {},
    "curvature": {"curvature": True, "every": 5},
}
SCHEMES = ("fp8", "int8-row", "int4-convrot", "nvfp4")


class Block(torch.nn.Module):
    def __init__(self):
        super().__init__()
        self.qkv, self.proj = torch.nn.Linear(WIDTH, 3 * WIDTH), torch.nn.Linear(WIDTH, WIDTH)
        self.up, self.down = torch.nn.Linear(WIDTH, 4 * WIDTH), torch.nn.Linear(4 * WIDTH, WIDTH)
        self.modulation = torch.nn.Linear(WIDTH, 6 * WIDTH)
        torch.nn.init.zeros_(self.modulation.weight)
        torch.nn.init.zeros_(self.modulation.bias)

    def forward(self, x, condition):
        shift, scale, gate, shift2, scale2, gate2 = self.modulation(condition)[:, None].chunk(6, -1)
        inner = functional.layer_norm(x, (WIDTH,)) * (1 + scale) + shift
        parts = self.qkv(inner).unflatten(-1, (3, HEADS, -1)).permute(2, 0, 3, 1, 4)
        mixed = functional.scaled_dot_product_attention(*parts).transpose(1, 2).flatten(2)
        x = x + gate * self.proj(mixed)
        inner = functional.layer_norm(x, (WIDTH,)) * (1 + scale2) + shift2
        return x + gate2 * self.down(functional.gelu(self.up(inner)))


class Transformer(torch.nn.Module):
    """The velocity from noise, at time 0, to a picture, at time 1."""

    def __init__(self):
        super().__init__()
        self.patches, self.final = torch.nn.Linear(CHANNELS, WIDTH), torch.nn.Linear(WIDTH, CHANNELS)
        self.places = torch.nn.Parameter(torch.randn(TOKENS, WIDTH) * 0.1)
        self.classes = torch.nn.Embedding(CLASSES, WIDTH)
        self.time = torch.nn.Sequential(
            torch.nn.Linear(64, WIDTH), torch.nn.SiLU(), torch.nn.Linear(WIDTH, WIDTH)
        )
        self.blocks = torch.nn.ModuleList(Block() for _ in range(DEPTH))

    def forward(self, x, time, digit):
        angles = time[:, None] * 100 ** (torch.arange(32) / 31)
        condition = self.time(torch.cat([angles.sin(), angles.cos()], 1)) + self.classes(digit)
        x = self.patches(x) + self.places
        for block in self.blocks:
            x = block(x, functional.silu(condition))
        return self.final(functional.layer_norm(x, (WIDTH,)))


def read_digits():
    """64 brightnesses from 0 to 16 and the digit, for each picture. The package itself stays outside: its
    programs need others."""
    package = Path(importlib.util.find_spec("sklearn").origin).parent
    return np.loadtxt(package / "datasets" / "data" / "digits.csv.gz", delimiter=",")


def train(path, steps):
    digits = torch.from_numpy(read_digits())
    pictures = digits[:, :-1].view(-1, SIZE, SIZE).float() / 8 - 1
    pictures = pictures.unfold(1, PATCH, PATCH).unfold(2, PATCH, PATCH).reshape(-1, TOKENS, CHANNELS)
    labels = digits[:, -1].long()
    torch.manual_seed(1)
    model = Transformer()
    optimizer = torch.optim.AdamW(model.parameters(), lr=RATE)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, RATE, total_steps=steps)
    for step in range(steps):
        chosen = torch.randint(len(pictures), (BATCH,))
        noise, time = torch.randn(BATCH, TOKENS, CHANNELS), torch.rand(BATCH)
        between = noise + (pictures[chosen] - noise) * time[:, None, None]
        loss = functional.mse_loss(model(between, time, labels[chosen]), pictures[chosen] - noise)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        schedule.step()
        if step % 200 == 0:
            print(f"step {step}: loss {loss.item():.3f}", file=sys.stderr)
    safetensors.torch.save_file(model.state_dict(), path)


def noise(seed, count):
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(count, TOKENS, CHANNELS, generator=generator), torch.arange(count) % CLASSES


def generate(model, x, digit):
    """Pictures, and what every step was asked and answered."""
    steps = []
    for step in range(STEPS):
        time = torch.full((len(x),), step / STEPS)
        velocity = model(x, time, digit)
        steps.append((x, time, velocity))
        x = x + velocity / STEPS
    return x, steps


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("roundwise")
    parser.add_argument("folder", type=Path)
    parser.add_argument("--steps", type=int, default=3000)
    options = parser.parse_args()
    options.folder.mkdir(parents=True, exist_ok=True)
    weights = options.folder / "model.safetensors"
    if not weights.exists():
        train(weights, options.steps)
    model = Transformer().eval()
    model.load_state_dict(safetensors.torch.load_file(weights))
    with torch.no_grad():
        for name, settings in KNOWLEDGE.items():
            if settings is not None:
                with collect(model, **settings) as collector:
                    for seed in range(4):
                        generate(model, *noise(seed, 64))
                collector.save(options.folder / f"{name}.stats.safetensors")
        digit = noise(99, 128)[1]
        expected, steps = generate(model, *noise(99, 128))
        rows = []
        for scheme in SCHEMES:
            for name in KNOWLEDGE:
                converted = Transformer().eval()
                converted.load_state_dict(outputs.read_model(convert(options, scheme, name, weights)))
                answers = [(converted(x, time, digit) - y, y) for x, time, y in steps]
                step = sum(e.square().sum() for e, _ in answers) / sum(y.square().sum() for _, y in answers)
                pictures = generate(converted, *noise(99, 128))[0] - expected
                pictures = pictures.square().sum() / expected.square().sum()
                row = {"scheme": scheme, "knowledge": name}
                rows.append(row | {"step": step.item(), "pictures": pictures.item()})
                print(rows[-1], file=sys.stderr)
    print(json.dumps({"training_steps": options.steps, "rows": rows}))


def convert(options, scheme, name, weights):
    output = options.folder / "converted.safetensors"
    command = [options.roundwise, "convert", weights, "-o", output, "--scheme", scheme]
    if name != "nearest":
        command += ["--stats", options.folder / f"{name}.stats.safetensors"]
    subprocess.run([*command, "--force", "--fresh", "--quiet"], check=True)
    return output


if __name__ == "__main__":
    main()

"""Writes a model whose weights no tile divides evenly: `python ragged.py FILE`. Needs numpy."""

import sys
from pathlib import Path

sys.dont_write_bytecode = True
sys.path.insert(0, str(Path(__file__).resolve().parents[2] / "fixtures" / "scripts"))

import numpy as np

import container

# One weight that every scheme covers, and two that few do.
SHAPES = {"even": (128, 256), "wide": (200, 320), "odd": (257, 1000)}


def weight(rows, cols, seed):
    """Normal numbers with a few columns of outliers and a block of zeros, F32."""
    random = np.random.default_rng(seed)
    values = random.standard_normal((rows, cols)) * 0.02
    values[:, :: cols // 5] *= 12
    values[3, :64] = 0
    return values.astype(np.float32)


def main():
    tensors = {
        f"blocks.{seed}.{name}.weight": ("F32", list(shape), weight(*shape, seed).tobytes())
        for seed, (name, shape) in enumerate(SHAPES.items())
    }
    Path(sys.argv[1]).write_bytes(container.encode(tensors))


if __name__ == "__main__":
    main()

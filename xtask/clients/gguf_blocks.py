"""Judges how blocks of GGUF are decoded: every number must have the bits that the gguf package gives.

    python gguf_blocks.py --roundwise PROGRAM [--model FILE.gguf]

Decodes a file of random blocks of every type, and a real model where one is named. Prints the number of
weights that were compared.
"""

import argparse
import subprocess
import sys
import tempfile
from pathlib import Path

sys.dont_write_bytecode = True
sys.path.insert(0, str(Path(__file__).resolve().parents[2] / "fixtures" / "scripts"))

import gguf
import numpy as np

import container
import gguf_blocks

ROWS, BLOCKS = 64, 16


def compare(program, model, folder):
    """Number of weights of a model, which must be decoded to the bits of gguf's own decoder."""
    output = folder / "decoded.safetensors"
    command = [program, "dequantize", model, "--dtype", "f32", "--output", output, "--quiet"]
    subprocess.run(command, check=True)
    tensors, _ = container.open_file(output)
    compared = 0
    for tensor in gguf.GGUFReader(model).tensors:
        expected = gguf.quants.dequantize(tensor.data, tensor.tensor_type).astype("<f4")
        dtype, shape, data = tensors[tensor.name]
        if dtype != "F32" or list(expected.shape) != shape:
            sys.exit(f"{tensor.name}: {dtype} {shape}, expected F32 {list(expected.shape)}")
        found = np.frombuffer(data, "<u4")
        differing = np.flatnonzero(found != expected.reshape(-1).view("<u4"))
        if len(differing):
            sys.exit(f"{tensor.name} ({tensor.tensor_type.name}): weight {differing[0]} differs")
        compared += found.size
    return compared


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--roundwise", required=True)
    parser.add_argument("--model", type=Path)
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        folder = Path(folder)
        model = folder / "random.gguf"
        gguf_blocks.write_model(model, gguf_blocks.tensors(15, ROWS, BLOCKS))
        for each in [model, arguments.model]:
            if each is not None:
                print(f"{each.name}: {compare(arguments.roundwise, each, folder)} weights")


if __name__ == "__main__":
    main()

"""Judges how blocks of GGUF are decoded: every number must have the bits that the gguf package gives.

    python gguf_decoded.py PROGRAM [FILE.gguf…]

PROGRAM is the example `to_safetensors` of crates/tensor-file. It decodes a file of random blocks of every type, and
the models that are named. Prints the number of weights that were compared.
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
    output.unlink(missing_ok=True)
    subprocess.run([program, model, output], check=True)
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
    parser.add_argument("program")
    parser.add_argument("models", type=Path, nargs="*")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        folder = Path(folder)
        random = folder / "random.gguf"
        gguf_blocks.write_model(random, gguf_blocks.tensors(15, ROWS, BLOCKS))
        for model in [random, *arguments.models]:
            print(f"{model.name}: {compare(arguments.program, model, folder)} weights")


if __name__ == "__main__":
    main()

"""Codes of convert-to-quant for a matrix that trade_off.rs made.

python trade_off_peer.py WEIGHT ROWS COLS RANK SCHEME ITERATIONS CODES SCALES

Its `original` optimizer with its defaults, and exactly RANK singular vectors. Prints one line of
JSON: seconds from the matrix in memory to its codes.
"""

import contextlib
import json
import sys
import time

import numpy
import torch
from convert_to_quant.converters.learned_rounding import LearnedRoundingConverter

SCHEMES = {
    "fp8": {"target_format": "fp8", "scaling_mode": "tensor"},
    "fp8-row": {"target_format": "fp8", "scaling_mode": "row"},
    "fp8-block-128": {"target_format": "fp8", "scaling_mode": "block", "block_size": 128},
    "int8-row": {"target_format": "int8", "scaling_mode": "row"},
    "int8-block-128": {"target_format": "int8", "scaling_mode": "block", "block_size": 128},
}


def main():
    weight_path, rows, cols, rank, scheme, iterations, codes_path, scales_path = sys.argv[1:]
    rows, cols, rank = int(rows), int(cols), int(rank)
    weight = torch.from_numpy(numpy.fromfile(weight_path, "<f4").reshape(rows, cols))
    torch.manual_seed(1)
    converter = LearnedRoundingConverter(
        **SCHEMES[scheme],
        optimizer="original",
        num_iter=int(iterations),
        top_p=rank / min(rows, cols),
        min_k=rank,
        max_k=rank,
        device="cpu",
    )
    with contextlib.redirect_stdout(sys.stderr):
        start = time.perf_counter()
        codes, scales = converter.convert(weight)[:2]
        seconds = time.perf_counter() - start
    codes.contiguous().view(torch.uint8).numpy().tofile(codes_path)
    scales.float().contiguous().numpy().astype("<f4").tofile(scales_path)
    print(json.dumps({"seconds": seconds, "torch": torch.__version__}))


if __name__ == "__main__":
    main()

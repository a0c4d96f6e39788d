"""The lines of product_speed.rs, computed by PyTorch: python product_speed_torch.py [--json]"""

import json
import sys
import time

import torch

REPEATS = 5
SHAPES = [
    ("square", 3072, 3072, 3072),
    ("left", 614, 3072, 3072),
    ("right", 3072, 3072, 614),
    ("core", 614, 3072, 614),
    ("expand", 3072, 614, 3072),
]
SIDE, RANK = 3072, 614


def median(work):
    work()
    seconds = []
    for _ in range(REPEATS):
        start = time.perf_counter()
        work()
        seconds.append(time.perf_counter() - start)
    return sorted(seconds)[REPEATS // 2]


def main():
    torch.manual_seed(1)
    lines = []
    for name, rows, inner, cols in SHAPES:
        left, right = torch.randn(rows, inner), torch.randn(inner, cols)
        seconds = median(lambda: left @ right)
        lines.append((f"{name} {rows}x{inner}x{cols}", 2e-9 * rows * inner * cols / seconds, "GFLOP/s"))
    weight = torch.randn(SIDE, SIDE)
    # convert_to_quant asks for k + 10 vectors and 4 iterations.
    search = lambda: torch.svd_lowrank(weight, q=RANK + 10, niter=4)
    lines.append((f"svd {SIDE} rank {RANK} iterations 4", median(search), "s"))
    energy = search()[1][:RANK].double().square().sum()
    missed = (1 - energy / weight.double().square().sum()).sqrt().item()
    lines.append(("  residual, iterations 4", missed, "of the norm"))
    if "--json" in sys.argv:
        entries = [{"name": n.strip(), "value": v, "unit": u} for n, v, u in lines]
        print(json.dumps({"device": f"torch {torch.__version__}", "lines": entries}))
    else:
        print("torch", torch.__version__, "threads", torch.get_num_threads())
        for name, value, unit in lines:
            print(f"{name:36} {value:10.4f} {unit}")


if __name__ == "__main__":
    main()

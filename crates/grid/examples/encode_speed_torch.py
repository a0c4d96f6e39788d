"""Speed of torch's casts on one thread, measured as `encode_speed.rs` measures ours; prints JSON.

G elements per second; "memory": 64 Mi elements, "cache": 64 Ki.
"""

import json
import statistics
import time

import torch

IN_MEMORY = 64 << 20
IN_CACHE = 64 << 10
SCALE = 0.01


def speed(length, run):
    repeats = IN_MEMORY // length
    run()
    seconds = []
    for _ in range(7):
        start = time.perf_counter()
        for _ in range(repeats):
            run()
        seconds.append(time.perf_counter() - start)
    return length * repeats / statistics.median(seconds) / 1e9


def measured(length):
    """Name of the measurement in `encode_speed.rs` -> what torch does for it.

    `copy_` into an existing tensor, as ours writes into an existing slice; `.to()` allocates.
    """
    values = (torch.rand(3, length) - 0.5).sum(0) * 300
    bf16 = values.bfloat16()
    codes = torch.empty(length, dtype=torch.float8_e4m3fn)
    wide = torch.empty(length)
    return {
        "encode_bf16_slice e4m3": lambda: codes.copy_(bf16),
        "encode_bf16_slice e4m3 .to()": lambda: bf16.to(torch.float8_e4m3fn),
        "encode_slice e4m3": lambda: codes.copy_(values),
        "encode_scaled e4m3": lambda: codes.copy_(values / SCALE),
        "absmax": lambda: values.abs().max(),
        "widen_bf16": lambda: wide.copy_(bf16),
        "decode_scaled e4m3": lambda: wide.copy_(codes).mul_(SCALE),
    }


def main():
    torch.set_num_threads(1)
    torch.manual_seed(1)
    result = {}
    for place, length in (("memory", IN_MEMORY), ("cache", IN_CACHE)):
        for name, run in measured(length).items():
            result.setdefault(name, {})[place] = round(speed(length, run), 3)
    print(json.dumps({"torch": torch.__version__, **result}, indent=2))


if __name__ == "__main__":
    main()

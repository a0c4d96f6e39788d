"""A model of one square layer and statistics of its inputs: python square.py SIZE FOLDER

Writes FOLDER/square.safetensors and square-full, square-rank64.stats.safetensors beside it. Inputs are
normal, of 4 times as many rows as columns, most of their energy in an eighth of the directions.
"""

import sys
from pathlib import Path

sys.dont_write_bytecode = True
sys.path.insert(0, str(Path(__file__).resolve().parents[2] / "crates" / "stats" / "collector"))

import torch
from roundwise_collect import collect
from safetensors.torch import save_file


def main():
    size, folder = int(sys.argv[1]), Path(sys.argv[2])
    torch.manual_seed(7)
    layer = torch.nn.Linear(size, size, bias=False)
    model = torch.nn.ModuleDict({"blocks": torch.nn.ModuleList([layer])})
    weight = layer.weight.detach().to(torch.bfloat16)
    save_file({"blocks.0.weight": weight.contiguous()}, folder / "square.safetensors")
    mixing = torch.randn(size // 8, size)
    for name, options in [("full", {}), ("rank64", {"full_limit": 0, "rank": 64})]:
        with torch.no_grad(), collect(model, **options) as collector:
            for _ in range(8):
                hidden = torch.randn(size // 2, size // 8)
                model["blocks"][0](hidden @ mixing + 2 * torch.randn(size // 2, size))
        collector.save(str(folder / f"square-{name}.stats.safetensors"))


if __name__ == "__main__":
    main()

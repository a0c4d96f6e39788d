"""Small random models of ComfyUI's classes, converted, opened by ComfyUI's own loaders and run.

    COMFY_ROOT=… python matrix.py ROUNDWISE FOLDER [--only PATTERN] [--schemes NAME,…]

Prints a line of JSON for ComfyUI's version, and one for every case and scheme as soon as it is known. A row without
defects says: ComfyUI finds the same class and the same configuration as in the original, as many layers in codes as
were written, each weight within the error of its scheme, every other parameter equal, no missing and no unexpected
names, and an output as far from the original's as noise of the weights' errors moves it.
"""

import argparse
import gc
import json
import re
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent))

import tree
import torch

import comfy.supported_models
from cases import CASES, WITHOUT_CASE
from judge import Judge
from program import Program


def without_case(seen):
    """Classes of ComfyUI that no case built, and why."""
    names = [model.__name__ for model in comfy.supported_models.models]
    return {name: WITHOUT_CASE.get(name, "no case yet") for name in names if name not in seen}


def main():
    arguments = argparse.ArgumentParser()
    arguments.add_argument("binary")
    arguments.add_argument("folder", type=Path)
    arguments.add_argument("--only", default="", metavar="PATTERN")
    arguments.add_argument("--schemes", default="default")
    arguments = arguments.parse_args()
    torch.set_num_threads(1)
    arguments.folder.mkdir(parents=True, exist_ok=True)
    judge = Judge(Program(arguments.binary), arguments.folder)
    print(json.dumps(dict(version=tree.version())), flush=True)
    seen = set()
    for name, case in CASES.items():
        if re.search(arguments.only, name):
            for row in case.rows(judge, arguments.schemes.split(",")):
                seen.add(row.get("class_name"))
                print(json.dumps(row), flush=True)
            gc.collect()
    if not arguments.only:
        print(json.dumps(dict(without_case=without_case(seen))), flush=True)


if __name__ == "__main__":
    main()

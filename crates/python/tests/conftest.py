import json
import shutil
import struct
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[3]
FIXTURE = ROOT / "fixtures/tensors/minilm-layer0.safetensors"
PROGRAM = Path(sys.executable).with_name("roundwise.exe" if sys.platform == "win32" else "roundwise")


@pytest.fixture
def model(tmp_path):
    """A copy of real weights, with room beside it."""
    return Path(shutil.copy(FIXTURE, tmp_path / "model.safetensors"))


def run_program(*arguments):
    """What the program of the wheel prints."""
    words = [str(PROGRAM), *map(str, arguments)]
    return subprocess.run(words, check=True, capture_output=True, text=True, encoding="utf-8").stdout


def tensors_of(path):
    """The header of a safetensors file, and the bytes of each tensor."""
    data = Path(path).read_bytes()
    (length,) = struct.unpack("<Q", data[:8])
    header = json.loads(data[8 : 8 + length])
    header.pop("__metadata__", None)
    for entry in header.values():
        start, end = entry.pop("data_offsets")
        entry["data"] = data[8 + length + start : 8 + length + end]
    return header

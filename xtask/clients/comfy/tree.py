"""Opens a source tree of ComfyUI on a CPU, without its server. The variable COMFY_ROOT names the tree.

Whoever imports this may import `comfy` afterwards.
"""

import importlib.machinery
import logging
import os
import re
import sys
import types
import warnings
from pathlib import Path

sys.dont_write_bytecode = True

ROOT = Path(os.environ["COMFY_ROOT"])


class Absent(types.ModuleType):
    """A module that is not installed. It has every attribute, and none that is of use."""

    def __init__(self, name):
        super().__init__(name)
        self.__spec__ = importlib.machinery.ModuleSpec(name, None)
        self.__path__ = []
        sys.modules[name] = self

    def __getattr__(self, name):
        if name.startswith("__"):
            raise AttributeError(name)
        return Absent(f"{self.__name__}.{name}")


def without_sound():
    """torchaudio is often behind torch and refuses to import then. Only VAEs of sound use it."""
    try:
        import torchaudio  # noqa: F401
    except Exception:
        for name in ("torchaudio", "torchaudio.transforms", "torchaudio.functional"):
            Absent(name)


class Complaints(logging.Handler):
    """Collects what ComfyUI logs as a warning or worse."""

    def __init__(self):
        super().__init__(logging.WARNING)
        self.lines = []

    def emit(self, record):
        self.lines.append(" ".join(record.getMessage().split()))


def version():
    """The version that the tree says it has."""
    text = (ROOT / "comfyui_version.py").read_text()
    return re.search(r'__version__ = "(.*)"', text).group(1)


def opened():
    """Boots the tree and returns the collector of its complaints."""
    arguments, sys.argv = sys.argv, [sys.argv[0], "--cpu"]
    sys.path.insert(0, str(ROOT))
    without_sound()
    warnings.filterwarnings("ignore")
    complaints = Complaints()
    logging.basicConfig(level=logging.WARNING, handlers=[complaints], force=True)

    import comfy.options

    comfy.options.enable_args_parsing()
    import comfy.sd  # noqa: F401

    sys.argv = arguments
    return complaints


COMPLAINTS = opened()

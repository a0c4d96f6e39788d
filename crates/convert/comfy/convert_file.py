"""The node that converts a file of ComfyUI's model folders, beside which the result appears."""

import os
import re
import sys

# Folders whose loaders open files in codes.
FOLDERS = ("diffusion_models", "checkpoints", "text_encoders")

NO_STATISTICS = "none"
NEAREST = "nearest, or activations with statistics"


def library():
    """The Python package, which is not a part of this folder."""
    try:
        import roundwise
    except ImportError as error:
        raise RuntimeError(
            f"the Python package roundwise is missing: {sys.executable} -m pip install roundwise"
        ) from error
    return roundwise


def model_files():
    """Files as `folder/name`, those of all folders whose loaders open codes."""
    from folder_paths import get_filename_list

    return [f"{folder}/{name}" for folder in FOLDERS for name in get_filename_list(folder)]


def statistics_files():
    """Side-cars that "Save layer statistics" has written."""
    from folder_paths import get_output_directory

    folder = get_output_directory()
    names = os.listdir(folder) if os.path.isdir(folder) else []
    return [NO_STATISTICS, *sorted(name for name in names if name.endswith(".stats.safetensors"))]


def schemes():
    """Schemes that ComfyUI opens without other nodes, with the words that say since when."""
    # ComfyUI is named first; servers may follow.
    first = {scheme["name"]: scheme["opened_by"].split("; ")[0] for scheme in library().schemes()}
    return {
        name: program
        for name, program in first.items()
        if first_version(program) or program.startswith("any program")
    }


def first_version(program):
    """The numbers of `ComfyUI 0.8.0 or newer`; None for other programs."""
    found = re.fullmatch(r"ComfyUI (\d+(?:\.\d+)*) or newer", program)
    return found and numbers(found.group(1))


def numbers(version):
    return tuple(int(part) for part in re.findall(r"\d+", version)[:3])


def check_version(scheme, known, running):
    """Refuses a scheme that the ComfyUI that is running cannot open."""
    if scheme not in known:
        raise ValueError(
            f"scheme `{scheme}`: ComfyUI has no path for it by itself; choose one of {', '.join(known)}"
        )
    needed = first_version(known[scheme])
    if needed and numbers(running) < needed:
        older = [
            name for name, program in known.items() if (first_version(program) or (0,)) <= numbers(running)
        ]
        raise ValueError(
            f"scheme `{scheme}` is opened by {known[scheme]}, and this is ComfyUI {running}: "
            f"update ComfyUI, or choose one of {', '.join(older)}"
        )


class ConvertNode:
    """Converts a model file; the result lies beside it, where its loader lists it."""

    CATEGORY = "roundwise"
    FUNCTION = "convert"
    RETURN_TYPES = ("STRING", "ROUNDWISE_REPORT")
    RETURN_NAMES = ("file", "report")
    OUTPUT_NODE = True
    DESCRIPTION = "Converts a model file into low precision. Stopped, it continues with the next run."

    @classmethod
    def INPUT_TYPES(cls):
        try:
            names = list(schemes())
        except RuntimeError as error:
            # The node stays on the canvas, and says what is missing.
            names = [str(error)]
        return {
            "required": {
                "file": (model_files(),),
                "scheme": (names,),
                "statistics": (statistics_files(),),
            },
            "optional": {
                "method": ("STRING", {"default": "", "placeholder": NEAREST}),
                "keep": ("STRING", {"default": "", "placeholder": "layers to keep, a pattern on each line"}),
                "name": ("STRING", {"default": "", "placeholder": "by default named after the scheme"}),
                "overwrite": ("BOOLEAN", {"default": False}),
            },
        }

    def convert(self, file, scheme, statistics, method="", keep="", name="", overwrite=False):
        from comfy.model_management import throw_exception_if_processing_interrupted
        from comfy.utils import ProgressBar
        from comfyui_version import __version__ as running
        from folder_paths import get_full_path_or_raise, get_output_directory

        roundwise = library()
        check_version(scheme, schemes(), running)
        folder, _, inside = file.partition("/")
        path = get_full_path_or_raise(folder, inside)
        settings = {"scheme": scheme, "overwrite": overwrite, "keep": keep.split("\n") if keep else None}
        if method:
            settings["method"] = method
        if statistics != NO_STATISTICS:
            settings["statistics"] = os.path.join(get_output_directory(), os.path.basename(statistics))
        output = os.path.join(os.path.dirname(path), safe_name(name)) if name else None
        bar = Bar(ProgressBar, throw_exception_if_processing_interrupted)
        report = roundwise.convert(path, output, progress=bar.hear, **settings)
        made = os.path.relpath(report["output"], os.path.dirname(path))
        inside = os.path.join(os.path.dirname(inside), made).replace(os.sep, "/")
        return {"ui": {"text": [f"{folder}/{inside}"]}, "result": (inside, report)}


def safe_name(name):
    """A name of a file in the folder of its input, never one elsewhere."""
    base = os.path.basename(name.replace("\\", "/"))
    return base if base.endswith(".safetensors") else f"{base}.safetensors"


class Bar:
    """Events of a conversion as the progress of a node, which an interruption stops."""

    def __init__(self, make, check):
        self.make, self.check = make, check
        self.bar, self.done, self.total = None, 0, 0

    def hear(self, event):
        self.check()
        if event["event"] == "phase":
            self.done, self.total = 0, event["bytes"]
            self.bar = self.make(max(self.total, 1))
        elif event["event"] in ("advanced", "recalled") and self.bar is not None:
            self.done += event["bytes"]
            self.bar.update_absolute(min(self.done, self.total), max(self.total, 1))

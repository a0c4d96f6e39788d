"""Installs the nodes into a folder of ComfyUI's kind, loads them with ComfyUI's own loader, and uses each.

    COMFY_ROOT=… python comfy_nodes.py

No server, no GPU. Needs what ComfyUI needs, and the package roundwise. Nothing is written into COMFY_ROOT.
"""

import asyncio
import os
import sys
import tempfile
from pathlib import Path
from types import SimpleNamespace

sys.dont_write_bytecode = True
sys.path.insert(0, os.environ["COMFY_ROOT"])

import roundwise
import torch
from comfy.cli_args import args
from roundwise._native import install_nodes
from safetensors.torch import save_file

SCHEME = "int8-row"
NODES = {
    "RoundwiseCollect": "Collect layer statistics",
    "RoundwiseSaveStatistics": "Save layer statistics",
    "RoundwiseConvert": "Convert model file",
    "RoundwiseReport": "Report",
}


def main():
    with tempfile.TemporaryDirectory() as folder:
        base = Path(folder)
        for inside in ("custom_nodes", "output", "models/diffusion_models/sub"):
            (base / inside).mkdir(parents=True)
        args.base_directory, args.cpu = folder, True
        check(base)
    print("comfy nodes: installed, loaded, and used")


def check(base):
    # They read the folders as they are imported.
    import folder_paths
    import nodes

    # 1. Installed by the wheel, loaded by ComfyUI.
    installed = install_nodes(base)
    assert asyncio.run(nodes.load_custom_node(installed)), "ComfyUI could not load the nodes"
    for key, title in NODES.items():
        assert nodes.NODE_DISPLAY_NAME_MAPPINGS[key] == title
        assert nodes.NODE_CLASS_MAPPINGS[key].CATEGORY == "roundwise"
    collect, save, convert, report = (nodes.NODE_CLASS_MAPPINGS[key]() for key in NODES)

    # 2. Statistics of a model that is used.
    torch.manual_seed(1)
    model = torch.nn.Sequential(*(torch.nn.Linear(256, 256) for _ in range(6)))
    file = base / "models/diffusion_models/sub/tiny.safetensors"
    save_file(model.state_dict(), file)
    patcher = SimpleNamespace(model=SimpleNamespace(diffusion_model=model))
    passed_on, _ = collect.attach(patcher, "large file, 8 GiB", False)
    assert passed_on is patcher
    with torch.no_grad():
        model(torch.randn(600, 256) * torch.linspace(0.1, 4, 256))
    save.save(None, "tiny")
    assert (base / "output/tiny.stats.safetensors").exists()

    # 3. What the node offers.
    offered = convert.INPUT_TYPES()["required"]
    assert offered["file"][0] == ["diffusion_models/sub/tiny.safetensors"]
    assert offered["statistics"][0] == ["none", "tiny.stats.safetensors"]
    schemes = {scheme["name"] for scheme in roundwise.schemes()}
    assert SCHEME in offered["scheme"][0] and set(offered["scheme"][0]) < schemes

    # 4. A conversion that is interrupted, and continues.
    asked = ("diffusion_models/sub/tiny.safetensors", SCHEME, "tiny.stats.safetensors")
    interrupt(convert, asked)
    shown = []
    import comfy.utils

    comfy.utils.set_progress_bar_global_hook(lambda done, total, *_, **__: shown.append(done / total))
    made = convert.convert(*asked)
    comfy.utils.set_progress_bar_global_hook(None)
    name, facts = made["result"]
    assert shown and max(shown) == 1.0, shown
    assert facts["recalled_tensors"] >= 1 and facts["converted_tensors"] == 6, facts
    assert facts["recipe"]["method"] == "activations"

    # 5. The result is where its loader lists it.
    assert name in folder_paths.get_filename_list("diffusion_models"), name
    assert name in nodes.UNETLoader.INPUT_TYPES()["required"]["unet_name"][0]
    assert made["ui"]["text"] == [f"diffusion_models/{name}"]

    # 6. The report in words and as a picture.
    text, picture = report.show(facts)["result"]
    assert "6 converted" in text and SCHEME in text
    assert picture.shape[0] == 1 and picture.shape[3] == 3 and picture.dtype == torch.float32
    assert 0 <= picture.min() and picture.max() <= 1 and picture.std() > 0.01

    # 7. What goes wrong is said with its way out.
    import comfyui_version

    refused(lambda: convert.convert(*asked), "exists already", "`overwrite`")
    running, comfyui_version.__version__ = comfyui_version.__version__, "0.3.70"
    refused(lambda: convert.convert(*asked), "ComfyUI 0.27.0 or newer", "this is ComfyUI 0.3.70", "update ComfyUI", "fp8")
    comfyui_version.__version__ = running
    refused(lambda: convert.convert(asked[0], "fp8-row", "none"), "no path for it by itself")
    made = convert.convert(asked[0], "fp8", "none", name="../../outside", keep="0\n1")
    assert made["result"][0] == "sub/outside.safetensors" and made["result"][1]["converted_tensors"] == 4


def interrupt(convert, asked):
    from comfy import model_management

    count = 0
    real = model_management.throw_exception_if_processing_interrupted

    def later():
        nonlocal count
        count += 1
        if count == 40:
            model_management.interrupt_current_processing(True)
        real()

    model_management.throw_exception_if_processing_interrupted = later
    try:
        convert.convert(*asked)
    except model_management.InterruptProcessingException as error:
        assert error.__cause__.kind == "unfinished", error.__cause__
    else:
        raise AssertionError("the conversion was not interrupted")
    finally:
        model_management.throw_exception_if_processing_interrupted = real


def refused(work, *words):
    try:
        work()
    except (ValueError, roundwise.Error) as error:
        missing = [word for word in words if word not in str(error)]
        assert not missing, (missing, str(error))
    else:
        raise AssertionError(f"{words[0]}: nothing was refused")


if __name__ == "__main__":
    main()

"""The nodes' own sums, without ComfyUI; `xtask/clients/comfy_nodes.py` uses them in a real one."""

import importlib.util
import sys
from types import ModuleType

import pytest
import roundwise
from roundwise._native import install_nodes


@pytest.fixture
def nodes(tmp_path, monkeypatch):
    """The folder as ComfyUI imports it, but for the collector, which needs torch."""
    (tmp_path / "custom_nodes").mkdir()
    folder = install_nodes(tmp_path)
    monkeypatch.setattr(sys, "dont_write_bytecode", True)
    for name in [name for name in sys.modules if name.startswith("nodes_of_roundwise")]:
        monkeypatch.delitem(sys.modules, name)
    collector = ModuleType("nodes_of_roundwise.roundwise_collect")
    collector.NODE_CLASS_MAPPINGS, collector.NODE_DISPLAY_NAME_MAPPINGS = {}, {}
    monkeypatch.setitem(sys.modules, collector.__name__, collector)
    spec = importlib.util.spec_from_file_location(
        "nodes_of_roundwise", f"{folder}/__init__.py", submodule_search_locations=[folder]
    )
    module = importlib.util.module_from_spec(spec)
    monkeypatch.setitem(sys.modules, spec.name, module)
    spec.loader.exec_module(module)
    return module


def test_schemes_are_those_that_comfyui_opens_alone(nodes):
    known = nodes.convert_file.schemes()
    assert {"fp8", "int8-row", "nvfp4", "bf16"} <= set(known)
    assert not {"fp8-row", "fp8-log-scales"} & set(known)


def test_a_comfyui_that_is_too_old_is_told(nodes):
    known = nodes.convert_file.schemes()
    nodes.convert_file.check_version("nvfp4", known, "0.33.0")
    nodes.convert_file.check_version("bf16", known, "0.1")
    with pytest.raises(ValueError) as told:
        nodes.convert_file.check_version("nvfp4", known, "0.3.70")
    assert "ComfyUI 0.8.0 or newer" in str(told.value) and "this is ComfyUI 0.3.70" in str(told.value)
    assert "choose one of fp8" in str(told.value) and "nvfp4," not in str(told.value).split("choose")[1]
    with pytest.raises(ValueError, match="no path for it by itself"):
        nodes.convert_file.check_version("fp8-row", known, "0.33.0")


def test_names_stay_in_the_folder(nodes):
    for typed, name in [("a", "a.safetensors"), ("../b.safetensors", "b.safetensors"), ("c\\..\\d", "d.safetensors")]:
        assert nodes.convert_file.safe_name(typed) == name


def test_a_report_is_told_in_words(nodes, model):
    report = roundwise.convert(model, scheme="int8-row", keep=["query"])
    text = nodes.report.summary(report)
    assert "5 converted, 11 kept, 0 removed" in text
    assert "int8-row: " in text and "error of all weights together: " in text
    errors = [layer["weight_error"] for layer in nodes.report.worst(report)]
    assert len(errors) == 5 and errors == sorted(errors, reverse=True)

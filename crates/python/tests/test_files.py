"""Functions about files do what the program does, and say it in Python's way."""

import json
import pickle
import shutil
import signal
import threading
import time

import pytest
import roundwise
from conftest import ROOT, run_program

STATISTICS = ROOT / "fixtures/stats/small.stats.safetensors"
CLOCKS = ("seconds", "sync_seconds", "verify_seconds")


def without_clocks(report):
    """A report without what differs from run to run."""
    report = {key: value for key, value in report.items() if key not in (*CLOCKS, "output", "threads")}
    report["tensors"] = [{**tensor, "seconds": 0} for tensor in report["tensors"]]
    return report


def test_the_wheel_brings_the_program():
    assert run_program("--version").strip() == f"roundwise {roundwise.__version__}"


def test_answers_are_those_of_json(model, tmp_path):
    converted = tmp_path / "other.safetensors"
    answer = roundwise.convert(model, scheme="int8-row", keep=["query"])
    printed = run_program("convert", model, "--scheme", "int8-row", "--keep", "query", "-o", converted, "--json")
    assert without_clocks(answer) == without_clocks(json.loads(printed))
    output = answer["output"]
    assert output == str(tmp_path / "model-int8-row.safetensors")
    for answer, words in [
        (roundwise.inspect(output), ["inspect", output]),
        (roundwise.plan(model, scheme="nvfp4", threads=2), ["plan", model, "--scheme", "nvfp4", "--threads", "2"]),
        (
            roundwise.plan(model, explain="encoder.layer.0.attention.self.key"),
            ["plan", model, "--explain", "encoder.layer.0.attention.self.key"],
        ),
        (roundwise.verify(model, output), ["verify", model, output]),
        (roundwise.repair(output), ["repair", output]),
        (roundwise.stats(STATISTICS), ["stats", "show", STATISTICS]),
        (roundwise.schemes(), ["schemes"]),
    ]:
        assert answer == json.loads(run_program(*words, "--json")), words


def test_the_folder_of_a_language_model_is_for_servers(model, tmp_path):
    folder = tmp_path / "in"
    folder.mkdir()
    shutil.copy(model, folder / "model.safetensors")
    config = {"architectures": ["LlamaForCausalLM"], "model_type": "made_up"}
    (folder / "config.json").write_text(json.dumps(config))
    assert roundwise.plan(folder) == json.loads(run_program("plan", folder, "--json"))
    output = roundwise.convert(folder)["output"]
    assert (tmp_path / "in-fp8-row/config.json").exists(), output


def test_codes_become_numbers_again(model, tmp_path):
    converted = roundwise.convert(model)["output"]
    plain = roundwise.dequantize(converted, tmp_path / "plain.safetensors", decode_to="f32")
    assert plain["recipe"]["decode_to"] == "f32"
    dtypes = {entry["dtype"] for entry in roundwise.inspect(plain["output"])["dtypes"]}
    assert "F32" in dtypes and "F8_E4M3" not in dtypes
    by_default = roundwise.dequantize(converted)["output"]
    assert by_default.endswith("-bf16.safetensors")


def test_a_file_with_defects_is_mended(tmp_path):
    broken = ROOT / "fixtures/broken"
    for path in sorted(broken.glob("*.safetensors")):
        if roundwise.repair(path)["repairs"] and not roundwise.repair(path)["defects"]:
            break
    report = roundwise.repair(path, tmp_path / "mended.safetensors", write=True)
    assert report["recipe"]["repair"] is True
    assert not roundwise.inspect(report["output"])["findings"]


def test_settings_lie_on_top_of_a_recipe(model, tmp_path):
    recipe = tmp_path / "recipe.toml"
    recipe.write_text("scheme = 'int8-row'\nkeep = ['query']\n[method_options]\ntop_p = 0.1\n")
    report = roundwise.plan(model, recipe=recipe, method="principal", max_k=9, keep=["key"])
    kept = [tensor["name"] for tensor in report["tensors"] if "query.weight" in tensor["name"] or "key.weight" in tensor["name"]]
    assert kept and all(t["decision"] == "copy" for t in report["tensors"] if t["name"] in kept)
    assert {t["scheme"] for t in report["tensors"]} == {"int8-row", None}


def test_progress_hears_the_events(model):
    events = []
    report = roundwise.convert(model, progress=events.append)
    assert {event["event"] for event in events} >= {"phase", "begun", "advanced", "finished"}
    finished = [event["tensor"]["name"] for event in events if event["event"] == "finished"]
    assert sorted(finished) == sorted(tensor["name"] for tensor in report["tensors"])


class Enough(Exception):
    """Raised by somebody who has seen enough."""


def raise_enough():
    raise Enough


@pytest.mark.parametrize("how", [raise_enough, lambda: signal.raise_signal(signal.SIGINT)], ids=["exception", "Ctrl-C"])
def test_what_was_stopped_continues(model, how):
    settings = {"method": "principal", "threads": 1}
    finished = []

    def progress(event):
        finished.extend([event] if event["event"] == "finished" else [])
        if len(finished) == 2:
            how()

    with pytest.raises((Enough, KeyboardInterrupt)) as stopped:
        roundwise.convert(model, progress=progress, **settings)
    left = stopped.value.__cause__
    assert isinstance(left, roundwise.Error) and left.kind == "unfinished"
    assert "the same call" in left.help and "`starts_over`" in left.help
    assert roundwise.convert(model, **settings)["recalled_tensors"] >= 1


def test_other_threads_run_meanwhile(model):
    turns, is_done = [], threading.Event()

    def turn():
        while not is_done.wait(0.001):
            turns.append(time.perf_counter())

    other = threading.Thread(target=turn)
    other.start()
    start = time.perf_counter()
    roundwise.convert(model, method="principal", threads=1)
    end = time.perf_counter()
    is_done.set()
    other.join()
    during = [at for at in turns if start < at < end]
    assert len(during) > (end - start) / 0.1


@pytest.mark.parametrize(
    ("settings", "kind", "message", "help"),
    [
        ({"scheme": "fp9"}, "recipe", "scheme: unknown scheme `fp9`", None),
        ({"schema": "fp8"}, "recipe", "schema: there is no such setting", "did you mean `scheme`?"),
        ({"keep": "attn"}, "recipe", "keep: wrong type", None),
        ({"keep": {"attn"}}, "recipe", "keep: wrong type: `set`", "text, numbers, lists and paths are taken"),
        ({"threads": 0}, "recipe", "threads: ", None),
        ({"device": "abacus"}, "recipe", "device: ", None),
        ({"lambda_": -1.0, "method": "principal", "solver": "descent"}, "recipe", "lambda_", None),
        ({"keep": ["no such layer"]}, "misfit", "keep[0] `no such layer`", None),
        ({"overwrite": "yes"}, "recipe", "overwrite: expected True or False", None),
    ],
)
def test_wrong_settings_are_named(model, settings, kind, message, help):
    with pytest.raises(roundwise.Error) as raised:
        roundwise.convert(model, **settings)
    error = raised.value
    assert (error.kind, error.help) == (kind, help) or help is None and error.kind == kind, error
    assert message in error.message
    assert "--" not in str(error)
    assert list(model.parent.iterdir()) == [model]


def test_errors_name_file_and_way_out(model, tmp_path):
    roundwise.convert(model)
    with pytest.raises(roundwise.Error) as raised:
        roundwise.convert(model)
    error = raised.value
    assert error.kind == "output_exists" and "model-fp8.safetensors" in error.message
    assert "`overwrite`" in error.help
    assert str(error) == f"{error.message}\n  {error.help}"
    roundwise.convert(model, overwrite=True)
    same = pickle.loads(pickle.dumps(error))
    assert (same.kind, same.message, same.help) == (error.kind, error.message, error.help)
    with pytest.raises(roundwise.Error) as raised:
        roundwise.inspect(tmp_path / "nothing.safetensors")
    assert raised.value.kind == "file" and "nothing.safetensors" in raised.value.message


def test_nodes_are_written_into_comfyui(tmp_path):
    with pytest.raises(roundwise.Error) as raised:
        run_nodes(tmp_path)
    assert "custom_nodes" in raised.value.message
    (tmp_path / "custom_nodes").mkdir()
    folder = run_nodes(tmp_path)
    assert folder == str(tmp_path / "custom_nodes" / "comfyui-roundwise")
    assert "already there" not in run_program("comfy", "install", tmp_path)
    (tmp_path / "custom_nodes/comfyui-roundwise/report.py").write_text("mine")
    with pytest.raises(roundwise.Error) as raised:
        run_nodes(tmp_path)
    assert raised.value.kind == "output_exists" and "report.py" in raised.value.message
    run_nodes(tmp_path, overwrite=True)
    assert (tmp_path / "custom_nodes/comfyui-roundwise/report.py").read_text() != "mine"


def run_nodes(folder, **settings):
    from roundwise._native import install_nodes

    return install_nodes(folder, **settings)



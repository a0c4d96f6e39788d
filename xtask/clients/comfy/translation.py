"""Models under the names of another dialect: what is translated must be the model itself."""

from dataclasses import dataclass
from typing import Any, Callable

import torch
from safetensors.torch import save_file

from comparison import relative
from judge import PLAIN, layers_in, said

#: The same numbers give the same output. Sums may be taken in another order where a layer was split.
TOLERANCE = 1e-5


@dataclass
class Translation:
    """A case under other names."""

    base: Any
    table: str
    """The table of names, of `crates/convert/dialects`."""
    renamed: Callable
    """From the published tensors to those of the dialect."""
    is_read_by_comfyui: bool = False
    """ComfyUI reads these names, too: its own translation is a second judge."""
    write: Callable = save_file
    suffix: str = "safetensors"

    kind = "dialect"

    @property
    def name(self):
        return f"{self.base.name}_as_{self.table}"

    def rows(self, judge, schemes):
        """One row for the names alone, then one for codes."""
        original, renamed = self.files(judge.folder)
        try:
            tensors = self.base.tensors(torch.float32)
            save_file(tensors, original)
            bare = {name.removeprefix(getattr(self.base, "prefix", "")): value for name, value in tensors.items()}
            self.write(self.renamed(bare), renamed)
            loaded = self.base.load(original)
            output = self.base.output(loaded)
        except Exception as error:
            yield dict(
                case=self.name, kind=self.kind, scheme="-", defects=[f"the original does not run: {said(error)}"]
            )
            return
        plan = judge.program.run("plan", "--json", renamed).json()
        facts = dict(
            case=self.name,
            kind=self.kind,
            class_name=loaded.class_name,
            subject=plan.get("architecture"),
            preset=plan.get("preset"),
            table=self.table,
        )
        yield facts | dict(scheme=PLAIN) | self.names_row(judge, original, renamed)
        if self.is_read_by_comfyui:
            yield facts | dict(scheme="none") | self.row_of(renamed, loaded, output, is_quiet=False)
        for scheme in schemes[:1]:
            yield facts | dict(scheme=scheme) | self.coded_row(judge, original, renamed, loaded, output, scheme)
        original.unlink()
        renamed.unlink()

    def files(self, folder):
        """The file under the model's own names, and the one under the dialect's."""
        return folder / f"{self.name}.own.safetensors", folder / f"{self.name}.{self.suffix}"

    def names_row(self, judge, original, renamed):
        """What the translated model computes, beside the original in the same dtypes: some encoders compute in theirs."""
        paths = []
        for source in [original, renamed]:
            path, answer = judge.convert(source, PLAIN)
            if answer.exit_code != 0:
                return dict(defects=[f"convert: exit code {answer.exit_code}: {answer.complaint[:300]}"])
            paths.append(path)
        loaded = self.base.load(paths[0])
        row = self.row_of(paths[1], loaded, self.base.output(loaded))
        for path in paths:
            path.unlink()
        return row

    def row_of(self, path, original, reference, is_quiet=True):
        """What ComfyUI makes of a file, beside the original. It lists parts of other models as it renames."""
        try:
            loaded = self.base.load(path)
            error = relative(self.base.output(loaded), reference)
        except Exception as error:
            return dict(defects=[said(error)])
        defects = [] if error <= TOLERANCE else [f"output {error:.1e} from the original's"]
        if loaded.class_name != original.class_name:
            defects.append(f"class {loaded.class_name} instead of {original.class_name}")
        if is_quiet:
            defects += [
                f"ComfyUI complains: {line[:200]}" for line in loaded.complaints if line not in original.complaints
            ]
        return dict(output_error=error, defects=defects)

    def coded_row(self, judge, original, renamed, loaded, reference, scheme):
        """What ComfyUI makes of codes, and whether there are as many as in the converted original."""
        own, answer = judge.convert(original, scheme)
        if "no program is known to open it" in answer.text:
            own.unlink()
            return dict(note="no program is known to open codes of it", defects=[])
        row = judge.row(self.base, renamed, loaded, reference, scheme)
        if answer.exit_code == 0 and "layers" in row:
            layers = layers_in(own)
            if layers != row["layers"]:
                row["defects"].append(f"{row['layers']} layers in codes, {layers} of the original")
            own.unlink()
        return row

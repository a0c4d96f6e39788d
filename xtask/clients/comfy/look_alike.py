"""What stands beside models: no loader of it has a path for codes, so that it must get none."""

from dataclasses import dataclass
from typing import Callable

import torch
from safetensors.torch import load_file, save_file

from judge import PLAIN, layers_in, said


@dataclass
class LookAlike:
    """A file that looks much like a model."""

    name: str
    tensors: Callable
    is_unknown: bool = False
    """Nothing recognises it: it may be converted, but nobody is said to open it."""

    kind = "look-alike"

    def rows(self, judge, schemes):
        """One row for a scheme with codes, one for plain numbers."""
        path = judge.folder / f"{self.name}.safetensors"
        try:
            tensors = self.tensors()
            save_file(tensors, path)
        except Exception as error:
            yield dict(case=self.name, kind=self.kind, scheme="-", defects=[f"cannot be built: {said(error)}"])
            return
        facts = dict(case=self.name, kind=self.kind, subject=judge.subject(path))
        for scheme in schemes[:2]:
            yield facts | dict(scheme=scheme) | self.coded(judge, path, scheme)
        yield facts | dict(scheme=PLAIN) | self.plain(judge, path, tensors)
        path.unlink()

    def coded(self, judge, path, scheme):
        """Codes are refused, or none of the layers has any, or nobody is said to open them."""
        converted, answer = judge.convert(path, scheme)
        if answer.exit_code != 0:
            return dict(refused=True, defects=[])
        layers = layers_in(converted)
        converted.unlink()
        is_promised = "opened by ComfyUI" in answer.text + answer.complaint
        if layers and is_promised:
            return dict(layers=layers, defects=["a promise that ComfyUI opens its codes"])
        if layers and not self.is_unknown:
            return dict(layers=layers, defects=["converted, though its loader takes codes for weights"])
        return dict(layers=layers, note="no program is said to open it", defects=[])

    def plain(self, judge, path, tensors):
        """Plain numbers stay what they are."""
        converted, answer = judge.convert(path, PLAIN)
        if "nothing to convert" in answer.complaint:
            return dict(note="nothing to convert", defects=[])
        if answer.exit_code != 0:
            return dict(defects=[f"{PLAIN}: exit code {answer.exit_code}: {answer.complaint[:200]}"])
        written = load_file(converted)
        converted.unlink()
        differ = [
            name
            for name, value in tensors.items()
            if name not in written or not torch.equal(written[name].float(), value.float())
        ]
        return dict(output_error=0.0, defects=[f"{name} differs" for name in differ[:3]])

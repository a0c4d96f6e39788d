"""Statistics of a model's inputs: collected in ComfyUI, used for the file under its own names."""

import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from safetensors.torch import save_file

from comparison import relative
from judge import layers_in, said

sys.path.insert(0, str(Path(__file__).resolve().parents[3] / "crates/stats/collector"))

from roundwise_collect import collect


@dataclass
class Statistics:
    """A case whose inputs are looked at."""

    base: Any

    kind = "statistics"

    @property
    def name(self):
        return f"{self.base.name}_statistics"

    def rows(self, judge, schemes):
        """A row for each scheme: with statistics the output is nearer, on the inputs that they are of."""
        path, statistics = judge.folder / f"{self.name}.safetensors", judge.folder / f"{self.name}.stats.safetensors"
        try:
            save_file(self.base.tensors(), path)
            loaded = self.base.load(path)
            with collect(loaded.network) as collector:
                output = self.base.output(loaded)
            collector.save(str(statistics))
        except Exception as error:
            yield dict(
                case=self.name, kind=self.kind, scheme="-", defects=[f"the original does not run: {said(error)}"]
            )
            return
        facts = dict(case=self.name, kind=self.kind, class_name=loaded.class_name, subject=judge.subject(path))
        for scheme in schemes[:2]:
            yield facts | dict(scheme=scheme) | self.row(judge, path, statistics, output, scheme)
        path.unlink()
        statistics.unlink()

    def row(self, judge, path, statistics, reference, scheme):
        try:
            nearest, _ = self.error(judge, path, reference, scheme)
            error, layers = self.error(judge, path, reference, scheme, "--stats", statistics)
        except Exception as error:
            return dict(defects=[said(error)])
        defects = (
            [] if error < nearest else [f"output {error:.2%} from the original's, {nearest:.2%} without statistics"]
        )
        return dict(layers=layers, output_error=error, note=f"{nearest:.2%} without", defects=defects)

    def error(self, judge, path, reference, scheme, *flags):
        """How far the output is from the original's, and how many layers are in codes."""
        converted, answer = judge.convert(path, scheme, *flags)
        if answer.exit_code != 0:
            raise ValueError(answer.complaint)
        output = self.base.output(self.base.load(converted))
        layers = layers_in(converted)
        converted.unlink()
        return relative(output, reference), layers

from collections.abc import Callable
from typing import Any, final

from typing_extensions import Unpack

from ._settings import Settings, StrPath

__version__: str

_Report = dict[str, Any]
_Progress = Callable[[dict[str, Any]], object]

def settings() -> list[str]: ...
def convert(
    input: StrPath,
    output: StrPath | None = None,
    *,
    recipe: StrPath | None = None,
    progress: _Progress | None = None,
    **settings: Unpack[Settings],
) -> _Report: ...
def dequantize(
    input: StrPath,
    output: StrPath | None = None,
    *,
    progress: _Progress | None = None,
    **settings: Unpack[Settings],
) -> _Report: ...
def repair(
    input: StrPath,
    output: StrPath | None = None,
    *,
    write: bool = False,
    progress: _Progress | None = None,
    **settings: Unpack[Settings],
) -> _Report: ...
def plan(
    input: StrPath,
    *,
    explain: str | None = None,
    recipe: StrPath | None = None,
    **settings: Unpack[Settings],
) -> dict[str, Any]: ...
def inspect(input: StrPath) -> dict[str, Any]: ...
def verify(
    original: StrPath,
    converted: StrPath,
    *,
    corrected_biases: bool = False,
    progress: _Progress | None = None,
    **settings: Unpack[Settings],
) -> dict[str, Any]: ...
def stats(path: StrPath) -> dict[str, Any]: ...
def schemes() -> list[dict[str, Any]]: ...
def install_nodes(folder: StrPath, *, overwrite: bool = False) -> str: ...
def quantize(
    weight: tuple[str, int, int, bytes],
    samples: tuple[str, str] | tuple[str, int, int, bytes] | None,
    **settings: Any,
) -> QuantizedMatrix: ...
@final
class QuantizedMatrix:
    @property
    def scheme(self) -> str: ...
    @property
    def shape(self) -> tuple[int, int]: ...
    @property
    def codes(self) -> memoryview: ...
    @property
    def scales(self) -> memoryview: ...
    @property
    def weight_error(self) -> float: ...
    @property
    def output_error(self) -> float | None: ...
    def dequantize(self) -> memoryview: ...
    def packed(self, layout: str | None = None, *, name: str = "layer") -> dict[str, dict[str, Any]]: ...

from __future__ import annotations

from collections.abc import Mapping, Sequence
from os import PathLike
from typing import Any, TypedDict, Union

StrPath = Union[str, "PathLike[str]"]


class MethodOptions(TypedDict, total=False):
    """What is changed of a method's defaults; `roundwise methods` describes it."""

    solver: str
    optimizer: str
    schedule: str
    effort: str
    weight_error_budget: float
    top_p: float
    min_k: int
    max_k: int
    top_k: int
    iterations: int
    learning_rate: float
    patience: int
    reg_lambda: float
    calibration_rows: int
    calibration_batch: int
    damping: float
    bias_correction: str
    beta_start: float
    beta_end: float
    sides: str
    # `lambda` is a word of Python's.
    lambda_: float


class Settings(MethodOptions, total=False):
    """Keyword arguments of functions about files: the settings of recipes and jobs, by their names."""

    # What becomes of the weights.
    scheme: str
    scale_rule: str
    layout: str
    spelling: str  # another name of `layout`
    tensor_parallel: int
    inputs: str
    method: str
    rounding: str  # another name of `method`
    method_options: Mapping[str, Any]
    preset: str
    keep: Sequence[str]
    include: Sequence[str]
    rules: Sequence[Mapping[str, str]]  # {"pattern": …, "scheme": …}
    assign: Sequence[Mapping[str, Any]]  # {"scheme": …, "layers": […]}
    fallback_scheme: str
    full_precision: Sequence[str]
    min_size: int
    heuristic: str
    keep_distillation: bool
    ignore_base_list: bool
    merge_lora: Sequence[str]
    allow_unmatched_lora: bool
    provenance: bool

    # What the file is taken for. `as` and `for` are words of Python's.
    model: str
    as_: str
    for_: str
    names: str

    # In place of quantizing.
    decode_to: str
    migrate_to: str
    repair: bool
    edit: Mapping[str, Any]

    # How the work is done.
    threads: int
    memory_bytes: int
    shard_bytes: int
    device: str
    statistics: StrPath
    allow_partial_statistics: bool
    verifies: bool
    starts_over: bool
    overwrite: bool
    extract_error_lora: int

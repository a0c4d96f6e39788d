"""Arrays of any library become codes, and what is said of the codes is true."""

import math

import numpy as np
import pytest
import roundwise
from conftest import FIXTURE, tensors_of

RNG = np.random.default_rng(7)
WEIGHT = RNG.normal(size=(48, 64)).astype("float32")
NAME = "encoder.layer.0.attention.self.key"


class OnlyDLPack:
    """Hands itself over by DLPack alone."""

    def __init__(self, array):
        self.array = array

    def __dlpack__(self):
        return self.array.__dlpack__()

    def __dlpack_device__(self):
        return self.array.__dlpack_device__()


def relative(error, of):
    return np.linalg.norm(error) / np.linalg.norm(of)


@pytest.mark.parametrize("scheme", ["fp8", "int8-row", "mxfp8", "nvfp4", "int8-block-16", "int8-row-convrot", "fp16"])
def test_the_error_is_that_of_the_decoded_codes(scheme):
    matrix = roundwise.quantize(WEIGHT, scheme)
    decoded = np.asarray(matrix.dequantize())
    assert decoded.shape == WEIGHT.shape and decoded.dtype == np.float32
    assert matrix.scheme == scheme and matrix.shape == WEIGHT.shape
    assert matrix.weight_error == pytest.approx(relative(decoded - WEIGHT, WEIGHT), rel=1e-4)
    assert matrix.output_error is None
    assert np.asarray(matrix.codes).shape == WEIGHT.shape
    assert scheme in repr(matrix)


def test_codes_times_scales_are_the_weight():
    matrix = roundwise.quantize(WEIGHT, "int8-row")
    codes, scales = np.asarray(matrix.codes).view("int8"), np.asarray(matrix.scales)
    assert scales.shape == (48, 1) and scales.dtype == np.float32
    assert np.array_equal(codes * scales, np.asarray(matrix.dequantize()))
    assert np.asarray(roundwise.quantize(WEIGHT, "fp8").scales).size == 1


@pytest.mark.parametrize(
    "array",
    [
        WEIGHT.astype("float64"),
        np.asfortranarray(WEIGHT),
        np.repeat(WEIGHT, 2, axis=1)[:, ::2],
        np.flip(np.flip(WEIGHT, 1).copy(), 1),
        memoryview(WEIGHT),
        OnlyDLPack(WEIGHT),
        OnlyDLPack(np.asfortranarray(WEIGHT)),
        OnlyDLPack(np.repeat(WEIGHT, 3, axis=0)[::3]),
    ],
    ids=["float64", "columns first", "every other", "backwards", "memoryview", "DLPack", "DLPack columns first", "DLPack rows"],
)
def test_strides_and_protocols_change_nothing(array):
    expected = roundwise.quantize(WEIGHT, "int8-row")
    assert bytes(roundwise.quantize(array, "int8-row").codes) == bytes(expected.codes)


def test_float16_is_taken():
    half = WEIGHT.astype("float16")
    expected = roundwise.quantize(half.astype("float32"), "int8-row")
    assert bytes(roundwise.quantize(half, "int8-row").codes) == bytes(expected.codes)


def test_a_row_is_repeated_without_memory():
    row = np.broadcast_to(WEIGHT[0], (48, 64))
    assert roundwise.quantize(OnlyDLPack(row.copy()), "int8-row").shape == (48, 64)
    column = np.broadcast_to(WEIGHT[:, :1], (48, 64))
    assert roundwise.quantize(column, "int8-row").weight_error < 1e-2


def test_packed_tensors_are_those_of_a_file(tmp_path):
    report = roundwise.convert(FIXTURE, tmp_path / "o.safetensors", scheme="int8-row")
    original = tensors_of(FIXTURE)[f"{NAME}.weight"]
    assert original["dtype"] == "BF16"
    bits = np.frombuffer(original["data"], "uint16").astype("uint32") << 16
    weight = bits.view("float32").reshape(original["shape"])
    packed = roundwise.quantize(weight, "int8-row").packed("comfy", name=NAME)
    file = tensors_of(report["output"])
    assert len(packed) >= 2
    assert packed == {name: file[name] for name in packed}
    assert set(packed) == {name for name in file if name.startswith(f"{NAME}.") and not name.endswith("bias")}
    assert list(roundwise.quantize(weight, "fp8").packed())[0] == "layer.weight"


def test_statistics_lower_the_error_of_outputs():
    mixing = RNG.normal(size=(64, 64)) * np.linspace(0.05, 4, 64)[:, None]
    samples = (RNG.normal(size=(512, 64)) @ mixing + 0.3).astype("float32")
    nearest = roundwise.quantize(WEIGHT, "nvfp4", method="nearest")
    learned = roundwise.quantize(WEIGHT, "nvfp4", stats=samples)
    for matrix in [learned]:
        error = samples @ (np.asarray(matrix.dequantize()) - WEIGHT).T
        expected = (np.linalg.norm(error) / np.linalg.norm(samples @ WEIGHT.T)) ** 2
        assert matrix.output_error == pytest.approx(expected, rel=1e-3)
    before = samples @ (np.asarray(nearest.dequantize()) - WEIGHT).T
    after = samples @ (np.asarray(learned.dequantize()) - WEIGHT).T
    assert np.linalg.norm(after) < 0.8 * np.linalg.norm(before)
    lists = roundwise.quantize(WEIGHT, "nvfp4", stats=samples.astype("float64").T.copy().T)
    assert bytes(lists.codes) == bytes(learned.codes)


@pytest.mark.parametrize(
    ("array", "message", "help"),
    [
        (WEIGHT.astype("int64"), "holds int64, expected float64, float32, float16 or bfloat16", "astype('float32')"),
        (WEIGHT.astype(">f4"), "expected float64, float32", "astype('float32')"),
        (b"abc", "holds numbers of format `B`", "astype"),
        (WEIGHT.tolist(), "weight: a `list` is no array", "numpy.asarray"),
        (None, "weight: a `NoneType` is no array", "numpy arrays, torch tensors"),
        (WEIGHT.reshape(3, 16, 64), "has shape [3, 16, 64], expected [rows, columns]", "reshape(len(weight), -1)"),
        (WEIGHT[:0], "has shape [0, 64]", None),
        (np.float32(1), "has shape []", None),
    ],
)
def test_what_is_no_matrix_is_refused(array, message, help):
    with pytest.raises(roundwise.Error) as raised:
        roundwise.quantize(array)
    assert raised.value.kind == "array"
    assert message in raised.value.message
    assert help is None or help in raised.value.help


@pytest.mark.parametrize(
    ("arguments", "kind", "message"),
    [
        ({"scheme": "fp9"}, "recipe", "scheme: unknown scheme `fp9`"),
        ({"scheme": "int8-block-7"}, "rounding", "multiple of 7"),
        ({"method": "activations"}, "rounding", "needs statistics"),
        ({"method": "magic"}, "recipe", "method"),
        ({"stats": WEIGHT[:, :5]}, "rounding", "needs statistics of 64 inputs, found 5"),
        ({"stats": ("nowhere.safetensors", "layer")}, "statistics", "nowhere.safetensors"),
        ({"layout": "comfy-legacy", "scheme": "int8"}, "recipe", "comfy-legacy"),
    ],
)
def test_what_cannot_be_rounded_is_told(arguments, kind, message):
    with pytest.raises(roundwise.Error) as raised:
        roundwise.quantize(WEIGHT, **arguments)
    assert raised.value.kind == kind, raised.value
    assert message in str(raised.value)


def test_a_weight_without_numbers_is_told():
    weight = WEIGHT.copy()
    weight[5, 3] = math.nan
    with pytest.raises(roundwise.Error, match="row 5 holds a NaN"):
        roundwise.quantize(weight)

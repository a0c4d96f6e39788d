"""Tensors of torch, which the module neither needs nor imports."""

import pytest
import roundwise

torch = pytest.importorskip("torch")

WEIGHT = torch.randn(48, 64, generator=torch.Generator().manual_seed(3)).bfloat16()


def codes(array):
    return bytes(roundwise.quantize(array, "int8-row").codes)


def test_bfloat16_is_read_as_it_is():
    assert codes(WEIGHT) == codes(WEIGHT.float()) == codes(WEIGHT.double())


@pytest.mark.parametrize(
    "tensor",
    [
        torch.nn.Parameter(WEIGHT),
        WEIGHT.t().contiguous().t(),
        WEIGHT.repeat_interleave(2, 1)[:, ::2],
        torch.cat([WEIGHT, WEIGHT])[48:],
    ],
    ids=["parameter", "transposed", "every other", "part"],
)
def test_strides_and_gradients_change_nothing(tensor):
    assert codes(tensor) == codes(WEIGHT)


def test_an_expanded_tensor_is_read_whole():
    column = WEIGHT[:, :1].expand(48, 64)
    assert codes(column) == codes(column.contiguous())


def test_samples_may_be_tensors():
    samples = torch.randn(256, 64, generator=torch.Generator().manual_seed(4))
    matrix = roundwise.quantize(WEIGHT, stats=samples)
    decoded = torch.asarray(matrix.dequantize(), copy=True).reshape(WEIGHT.shape)
    error = (samples @ (decoded - WEIGHT.float()).T).square().sum() / (samples @ WEIGHT.float().T).square().sum()
    assert matrix.output_error == pytest.approx(float(error), rel=1e-3)


@pytest.mark.parametrize("tensor", [WEIGHT.long(), WEIGHT.to(torch.complex64), WEIGHT.float().to(torch.float8_e4m3fn)])
def test_other_dtypes_are_refused(tensor):
    with pytest.raises(roundwise.Error) as raised:
        roundwise.quantize(tensor)
    assert raised.value.kind == "array" and "float32" in str(raised.value)


def test_a_tensor_elsewhere_is_refused():
    with pytest.raises(roundwise.Error) as raised:
        roundwise.quantize(torch.empty(4, 4, device="meta"))
    assert raised.value.kind == "array" and "cpu()" in raised.value.help

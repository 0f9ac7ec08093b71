"""Products with 2:4 weights: which weights these are, where there are none, how times are told."""

import pytest
import torch

from maskgap.benchmarks.models.semi_structured import (
    ProductTime,
    is_two_four,
    main,
    product_times,
    render,
    sparse_device,
)
from maskgap.instances.errors import InputError

CUDA = pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device")


def two_four(d_out, d_in):
    """Random weights, the first and third of each four zero."""
    weight = torch.randn(d_out, d_in, generator=torch.Generator().manual_seed(0))
    weight[:, 0::2] = 0.0
    return weight


def test_a_matrix_is_2_4_by_its_zeros_alone():
    weight = two_four(4, 8)
    assert is_two_four(weight)
    weight[2, 5] = 0.0  # three zeros in a four
    assert is_two_four(weight)
    weight[3, 2] = 1.0  # one zero
    assert not is_two_four(weight)
    assert not is_two_four(torch.zeros(4, 6))


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--device", "cpu"], "device 'cpu' has no semi-structured products; they need CUDA"),
        (["--device", "abacus"], "there is none of that name"),
        (["--tokens", "0"], "--tokens 0: expected a whole number"),
    ],
)
def test_where_there_are_no_such_products_one_line_says_so(capsys, words, message):
    with pytest.raises(SystemExit) as ended:
        main(["tests.helpers.toys:two_layers", *words])
    told = capsys.readouterr()
    assert ended.value.code == 2
    assert told.out == ""
    assert len(told.err.splitlines()) == 1
    assert message in told.err


def test_a_model_without_2_4_layers_is_refused():
    with pytest.raises(InputError, match="no layer is 2:4: prune with --pattern 2:4"):
        product_times([torch.ones(4, 8)], torch.device("cpu"))


def test_times_are_told_with_their_ratio_or_the_reason():
    times = [ProductTime(64, 128, 3, 4e-5, 2.5e-5), ProductTime(8, 8, 1, 1e-5, None, "too small")]
    lines = render(times, 16).splitlines()
    assert lines[0] == "16 tokens, float16"
    assert [cell.strip() for cell in lines[4].split("|")[1:-1]] == [
        "64 x 128", "3", "40.0 µs", "25.0 µs", "1.60"
    ]  # fmt: skip
    assert [cell.strip() for cell in lines[5].split("|")[3:-1]] == ["10.0 µs", "-", "-"]
    assert lines[-1] == "8 x 8: too small"


@CUDA
def test_both_products_are_timed_on_a_device_that_has_them():
    device = sparse_device("cuda")
    times = product_times([two_four(256, 512), two_four(256, 512)], device, tokens=128)
    assert [(one.d_out, one.d_in, one.layers) for one in times] == [(256, 512, 2)]
    assert times[0].dense_s > 0
    assert times[0].sparse_s is not None
    assert times[0].sparse_s > 0

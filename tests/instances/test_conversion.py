"""Arrays as callers have them: of any real dtype, of numpy or torch, with gradients or without."""

import numpy as np
import pytest
import torch

from maskgap.instances.conversion import as_array, as_mask, roundoff_of
from maskgap.instances.errors import InputError
from maskgap.instances.layer import Layer
from tests.helpers.command import python

NUMBERS = np.round(np.random.default_rng(0).normal(size=(2, 8)) * 8) / 8
FLOATS = [torch.float64, torch.float32, torch.bfloat16, torch.float16]
WHOLES = [torch.int8, torch.uint8, torch.int16, torch.int32, torch.int64]


@pytest.mark.parametrize("dtype", FLOATS, ids=str)
def test_tensors_are_taken_as_they_are(dtype):
    tensor = torch.nn.Parameter(torch.tensor(NUMBERS, dtype=dtype))
    given = (tensor, tensor.detach(), tensor.T, tensor[:, ::2], tensor.conj(), -tensor)
    for one in (*given, tensor.detach().to_sparse()):
        wanted = one.detach().to_dense().to(torch.float64).numpy()
        np.testing.assert_array_equal(as_array(one, "w").astype(np.float64), wanted)
    assert tensor.requires_grad


@pytest.mark.parametrize("dtype", [*FLOATS, *WHOLES], ids=str)
def test_a_layer_takes_tensors_of_every_real_dtype(dtype):
    weight = torch.tensor([[1, 2, 3], [3, 0, 1]]).to(dtype)
    gram = torch.tensor([[4, 1, 0], [1, 4, 2], [0, 2, 4]]).to(dtype)
    forced = torch.tensor([[1, 0, 0], [0, 0, 1]]).to(dtype)
    if dtype.is_floating_point:
        weight, gram = weight.requires_grad_(), gram.requires_grad_()
    layer = Layer.from_arrays(
        weight, gram, gram, {"tokens": "4"}, input_mean=weight[0] * 0 + 1 // 2, column_cost=gram[1],
        forced=forced,
    )  # fmt: skip
    np.testing.assert_array_equal(layer.weight, [[1, 2, 3], [3, 0, 1]])
    np.testing.assert_array_equal(layer.gram, layer.gram_eval)
    assert layer.column_cost.tolist() == [1, 4, 2]
    assert layer.forced.tolist() == [[1, 0, 0], [0, 0, 1]]
    exact = not dtype.is_floating_point or dtype == torch.float64
    assert layer.gram_roundoff == (2.0**-53 if exact else torch.finfo(dtype).eps / 2)


@pytest.mark.skipif(not torch.cuda.is_available(), reason="there is no CUDA device")
def test_tensors_on_a_device_are_taken():
    tensor = torch.tensor(NUMBERS, dtype=torch.bfloat16, device="cuda", requires_grad=True)
    np.testing.assert_array_equal(as_array(tensor, "w"), NUMBERS)
    assert as_mask(tensor > 0, (2, 8)).tolist() == (NUMBERS > 0).tolist()


@pytest.mark.parametrize("dtype", [np.float16, np.float32, np.float64, np.int8, np.uint64])
def test_arrays_of_numpy_say_their_roundoff(dtype):
    wanted = np.finfo(dtype).eps / 2 if np.issubdtype(dtype, np.floating) else 2.0**-53
    assert roundoff_of(np.zeros(2, dtype)) == wanted


def test_long_doubles_are_refused_in_words():
    wide = np.eye(2, dtype=np.longdouble)
    if wide.dtype.itemsize == 8:
        pytest.skip("long doubles are float64 here")
    for weight, gram in ((wide, np.eye(2)), (np.eye(2), wide)):
        with pytest.raises(InputError, match="which float64 would round; convert it first"):
            Layer.from_arrays(weight, gram)
    assert as_mask(wide, (2, 2)).tolist() == [[True, False], [False, True]]


def test_arrays_of_numpy_need_no_torch():
    script = (
        "import sys\nimport numpy as np\n"
        "from maskgap.instances.conversion import as_array, as_mask\n"
        "as_array(np.eye(2), 'w'); as_mask([[1, 0]], (1, 2))\nassert 'torch' not in sys.modules"
    )
    python(script)
    assert as_mask([[1, 0]], (1, 2)).tolist() == [[True, False]]

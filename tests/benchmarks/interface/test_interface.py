"""The Python interface: arrays as callers have them, and results that print in a line."""

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch

from maskgap.benchmarks.interface.arrays import as_array, as_mask
from maskgap.benchmarks.interface.calls import bound, certify, solve
from maskgap.instances.errors import InputError
from tests.helpers.tiny import random_layer

ROOT = Path(__file__).resolve().parents[3]
LAYER = random_layer(5, 8, rows=2)


def _tensors(dtype):
    weight = torch.nn.Parameter(torch.tensor(LAYER.weight, dtype=dtype))
    return weight, torch.tensor(np.round(LAYER.gram * 8) / 8, dtype=dtype, requires_grad=True)


@pytest.mark.parametrize(
    "dtype", [torch.float64, torch.float32, torch.bfloat16, torch.float16], ids=str
)
def test_tensors_are_taken_as_they_are(dtype):
    weight, gram = _tensors(dtype)
    gram = (gram + gram.T) / 2
    for given in (weight, gram, gram.to_sparse(), weight.T, weight[:, ::2], gram.conj()):
        wanted = given.detach().to_dense().to(torch.float64).numpy()
        np.testing.assert_array_equal(as_array(given, "w").astype(np.float64), wanted)
    assert weight.requires_grad


def test_solve_certify_and_bound_take_tensors():
    weight, gram = _tensors(torch.bfloat16)
    (first, second) = solve(weight, gram, "50%", solver="exhaustive")
    mask = torch.tensor(np.stack([first.answer.mask, second.answer.mask]))
    plain = weight.detach().double().numpy(), gram.detach().double().numpy()
    wanted = [judged.certificate.objective for judged in (first, second)]
    for given in (mask, mask.to(torch.float32), mask.to(torch.int8), mask.tolist(), mask.numpy()):
        found = certify(weight, gram, "50%", given, bounds=torch.tensor([0.0, 0.0]))
        assert [one.objective for one in found] == pytest.approx(wanted, rel=1e-12)
    assert [one.objective for one in certify(*plain, "50%", mask)] == pytest.approx(wanted)
    work = bound(weight, gram, "50%", mask=mask, time_limit=30.0)
    assert work.total.verdict == "proved"


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"weight": torch.empty(2, 8, device="meta")}, "weight: a tensor on the meta device"),
        ({"weight": [[1.0, 2.0], [3.0]]}, "weight: cannot be made an array"),
        ({"weight": "weights"}, "weight must hold real numbers"),
        ({"gram": torch.eye(8, dtype=torch.complex64)}, "gram must hold real numbers"),
        ({"gram": None}, "gram must hold real numbers"),
        ({"mask": torch.ones(2, 7, dtype=torch.bool)}, "mask must have the shape of weight"),
        ({"mask": 0.5 * torch.ones(2, 8)}, "holds other numbers"),
        ({"mask": torch.ones(2, 8)}, "does not meet pattern"),
        ({"bounds": [1.0]}, "1 bounds for 2 parts"),
    ],
)
def test_bad_arrays_are_said_in_words(change, message):
    given = {
        "weight": LAYER.weight,
        "gram": LAYER.gram,
        "mask": np.tile([True, False], (2, 4)),
        "bounds": None,
        **change,
    }
    with pytest.raises(InputError, match=message):
        certify(given["weight"], given["gram"], "50%", given["mask"], given["bounds"])


def test_arrays_of_numpy_need_no_torch():
    script = (
        "import sys\nimport numpy as np\n"
        "from maskgap.benchmarks.interface.arrays import as_array, as_mask\n"
        "as_array(np.eye(2), 'w'); as_mask([[1, 0]], (1, 2))\nassert 'torch' not in sys.modules"
    )
    subprocess.run([sys.executable, "-c", script], cwd=ROOT, check=True)
    assert as_mask([[1, 0]], (1, 2)).tolist() == [[True, False]]


def test_results_print_in_a_line():
    (judged, _) = solve(LAYER.weight, LAYER.gram, "50%", solver="wanda")
    for shown in (judged, judged.answer, judged.problem, judged.problem.layer):
        text = repr(shown)
        assert len(text.splitlines()) == 1
        assert len(text) < 400
        assert "array" not in text
    assert str(judged.certificate.objective) in repr(judged)

"""The objective as an interval: it holds the exact loss, and says when the data cannot tell."""

from fractions import Fraction
from math import inf, nextafter

import numpy as np
import pytest

from maskgap import certify
from maskgap.benchmarks.verify.certificate import BoundKind, Verdict, certify_part, summed
from maskgap.benchmarks.verify.objective import (
    WIDTH,
    exact_loss,
    loss_of,
    losses_of,
    sum_down,
    sum_up,
    total_loss,
)
from maskgap.instances.errors import InputError
from maskgap.instances.formats.evidence.enumeration import Enumeration
from maskgap.instances.formats.files import read_layer
from maskgap.instances.formats.proof import PartProof
from maskgap.instances.layer import Layer
from maskgap.instances.masks.patterns import parse_pattern
from maskgap.instances.problem import Problem
from tests.helpers.tiny import random_layer, row_problem


def exact_value(weight, gram, pruned):
    """max(0, r^T G r), by its definition."""
    r = [
        Fraction(float(w)) if gone else Fraction(0) for w, gone in zip(weight, pruned, strict=True)
    ]
    chosen = [i for i, value in enumerate(r) if value]
    return max(
        Fraction(0), sum(r[i] * r[j] * Fraction(float(gram[i, j])) for i in chosen for j in chosen)
    )


def nearly_parallel(seed, n=24, spread=1e-7):
    """Columns in pairs that differ by a little, so that terms of a loss cancel."""
    rng = np.random.default_rng(seed)
    inputs = rng.normal(size=(n, 3))
    inputs[1::2] = -inputs[::2] * (1 + spread * rng.normal(size=(n // 2, 1)))
    return rng.choice([1.0, 2.0], size=(2, n)), inputs @ inputs.T


def scattered(seed, n=12):
    """Weights over a hundred orders of magnitude."""
    rng = np.random.default_rng(seed)
    inputs = rng.normal(size=(n, 2 * n))
    return rng.normal(size=(2, n)) * 10.0 ** rng.uniform(-50, 50, (2, n)), inputs @ inputs.T


FAMILIES = {
    "plain": lambda seed: (random_layer(seed, 16, rows=2).weight, random_layer(seed, 16).gram),
    "parallel": nearly_parallel,
    "very parallel": lambda seed: nearly_parallel(seed, spread=1e-12),
    "scattered": scattered,
    "few tokens": lambda seed: (
        random_layer(seed, 16, rows=2).weight,
        random_layer(seed, 16, tokens=2).gram,
    ),
    "small": lambda seed: (
        random_layer(seed, 16, rows=2).weight * 2.0**-200,
        random_layer(seed, 16).gram * 2.0**-100,
    ),
}


@pytest.mark.parametrize("family", FAMILIES)
@pytest.mark.parametrize("seed", range(5))
def test_the_interval_holds_the_exact_loss(family, seed):
    weight, gram = FAMILIES[family](seed)
    layer = Layer.from_arrays(weight, gram)
    problem = Problem.of(layer, parse_pattern("50%"))
    rng = np.random.default_rng(seed)
    masks = problem.groups.prune_lowest(rng.random(layer.weight.shape))
    for row, together in zip(problem, losses_of(problem, masks), strict=True):
        mask = masks[row.row]
        exact = exact_value(row.weight, layer.gram, ~mask)
        for loss in (together, loss_of(row, mask), exact_loss(row, mask)):
            assert Fraction(loss.low) <= exact <= Fraction(loss.high)
            assert loss.low <= loss.value <= loss.high
            if not loss.unresolved:
                assert loss.high - loss.low <= WIDTH * loss.high
        tight = exact_loss(row, mask)
        if not tight.unresolved:
            assert tight.value == float(exact)
            assert tight.high <= nextafter(tight.value, inf)


def test_what_cancels_in_float64_is_found_exactly():
    _, gram = nearly_parallel(0, spread=1e-6)
    row = row_problem(np.ones((1, 24)), gram, "keep=0")
    mask = np.zeros(24, dtype=bool)
    exact = exact_value(row.weight, row.layer.gram, ~mask)
    plain = row.loss(mask)
    assert abs(Fraction(plain) - exact) > exact * Fraction(1, 10**8)  # float64 alone is off
    assert loss_of(row, mask).value == float(exact)


@pytest.mark.parametrize("scale", [1.0, 1e-12, 1e12])
def test_losses_below_the_resolution_are_never_proved(scale):
    """Two columns that differ by less than the rounding of their products."""
    inputs = np.array([[1e6, 1.0], [1e6, 1.001], [0.0, 1.0]])
    gram = inputs @ inputs.T * scale
    row = row_problem(np.array([[1.0, -1.0, 1.0]]), gram, "keep=1")
    mask = np.array([False, False, True])
    proof = PartProof(0, row.digest, 0.0, None, Enumeration())
    found = certify_part(row, mask, proof=proof)
    true = float(((inputs[0] - inputs[1]) ** 2).sum()) * scale
    assert found.verdict is Verdict.FEASIBLE
    assert found.objective_low == 0.0 < true <= found.objective_high == found.objective
    assert "resolution" in found.reason
    assert found.gap == 1.0


def test_duplicate_columns_have_a_floor_and_no_proof():
    row = row_problem(np.array([[1.0, -1.0, 2.0, 3.0]]), np.ones((4, 4)), "50%")
    mask = np.array([False, False, True, True])
    proof = PartProof(0, row.digest, 0.0, None, Enumeration())
    found = certify_part(row, mask, proof=proof)
    assert found.verdict is Verdict.FEASIBLE
    assert 0.0 < found.objective < 1e-15


@pytest.mark.parametrize(
    ("weight", "gram"),
    [([0.0, 0.0, 1.0], np.eye(3)), ([1.0, 2.0, 3.0], np.diag([0.0, 0.0, 1.0]))],
)
def test_a_loss_without_terms_is_zero_and_proved_without_a_proof(weight, gram):
    row = row_problem(np.array([weight]), gram, "keep=1")
    found = certify_part(row, np.array([False, False, True]))
    assert (found.objective, found.objective_high, found.gap) == (0.0, 0.0, 0.0)
    assert found.verdict is Verdict.PROVED
    assert found.bound_kind is BoundKind.CHECKED


def test_rows_without_loss_do_not_weaken_a_total():
    layer = random_layer(3, 8, rows=3)
    weight = layer.weight.copy()
    weight[1] = 0.0
    problem = Problem.of(Layer.from_arrays(weight, layer.gram), parse_pattern("50%"))
    found = [
        certify_part(
            row,
            row.groups.prune_lowest(np.abs(row.weight)),
            proof=PartProof(row.row, row.digest, 0.0, None, Enumeration()),
            tolerance=10.0,
        )
        for row in problem
    ]
    found[1] = certify_part(problem.part_of(1), np.arange(8) < 4)
    total = summed(found)
    assert total.verdict is Verdict.PROVED
    assert total.bound_kind is BoundKind.CHECKED
    assert Fraction(total.bound) <= sum(Fraction(c.bound) for c in found)


def test_the_gap_is_that_of_the_upper_end():
    weight, gram = nearly_parallel(1, spread=1e-5)
    row = row_problem(weight, gram, "50%")
    mask = row.groups.prune_lowest(np.abs(row.weight))
    found = certify_part(row, mask, claimed_bound=0.5 * loss_of(row, mask).value)
    assert found.gap == (found.objective_high - found.bound) / found.objective_high


def test_a_float32_gram_resolves_less():
    inputs = np.random.default_rng(0).normal(size=(4, 40))
    gram = inputs @ inputs.T
    for dtype, unit in ((np.float64, 2.0**-53), (np.float32, 2.0**-24), (np.float16, 2.0**-11)):
        layer = Layer.from_arrays(np.ones((1, 4)), gram.astype(dtype))
        assert layer.gram_roundoff == unit
        row = Problem.of(layer, parse_pattern("50%")).part_of(0)
        size = np.abs(layer.gram[2:, 2:]).sum()
        mask = np.array([True, True, False, False])
        assert exact_loss(row, mask).resolution == pytest.approx(unit * size, rel=1e-9)
        assert loss_of(row, mask).resolution >= unit * size


@pytest.mark.parametrize(
    ("weight", "gram", "word"),
    [
        ([1e-150, 2e-150], np.eye(2) * 1e-20, "multiply"),
        ([1.0, 1e-160], np.diag([0.0, 1e-100]), "multiply"),
        ([1e100, 1.0], np.eye(2) * 1e100, "multiply"),
    ],
)
def test_rows_whose_products_leave_float64_are_refused_in_words(weight, gram, word):
    with pytest.raises(InputError, match=rf"row 0: its largest product .*{word}"):
        row_problem(np.array([weight]), gram, "keep=1")


def test_whole_numbers_that_float64_rounds_are_refused():
    for name, weight, gram in (
        ("weight", np.array([[1, 2**53 + 1]]), np.eye(2)),
        ("gram", np.ones((1, 2)), np.diag([2**60 + 1, 1])),
    ):
        with pytest.raises(InputError, match=f"{name} holds whole numbers"):
            Layer.from_arrays(weight, gram)


def test_sums_are_rounded_outwards():
    rng = np.random.default_rng(0)
    for _ in range(200):
        values = (rng.normal(size=9) * 10.0 ** rng.uniform(-20, 20, 9)).tolist()
        exact = sum(Fraction(v) for v in values)
        low, high = sum_down(values), sum_up(values)
        assert Fraction(low) <= exact <= Fraction(high)
        assert high in (low, nextafter(low, inf))
    assert sum_down([]) == sum_up([]) == 0.0
    loss = total_loss(
        [loss_of(row_problem([[1.0, 2.0]], np.eye(2), "keep=1"), np.array([1, 0]) > 0)] * 3
    )
    assert loss.low <= 12.0 <= loss.high


def test_a_bfloat16_gram_resolves_least(tmp_path):
    """Where the loss of a mask is below what eight bits of a mantissa can tell."""
    torch = pytest.importorskip("torch")
    from safetensors.torch import save_file

    weight = torch.tensor([[1.0, -2.0, 3.0]], dtype=torch.bfloat16)
    gram = torch.tensor([[4.0, 2, 0], [2, 1.0078125, 0], [0, 0, 100]], dtype=torch.bfloat16)
    path = tmp_path / "l.safetensors"
    save_file({"weight": weight, "gram": gram}, path, {"format": "maskgap-layer/1"})
    layer = read_layer(path)
    assert layer.gram_roundoff == 2.0**-8
    row = Problem.of(layer, parse_pattern("keep=1")).part_of(0)
    mask = np.array([False, False, True])
    proof = PartProof(0, row.digest, 0.0, None, Enumeration())
    (by_tensor,) = certify(weight, gram, "keep=1", torch.tensor([[False, False, True]]))
    for found in (certify_part(row, mask, proof=proof), by_tensor):
        assert found.verdict is Verdict.FEASIBLE
        assert found.objective == pytest.approx(2.0**-8 * 16.03125)
        assert "resolution" in found.reason

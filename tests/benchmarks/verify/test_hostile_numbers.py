"""Proofs and layers of numbers that cancel, overflow, or are none; losses that no float holds."""

from dataclasses import replace
from fractions import Fraction

import numpy as np
import pytest

from maskgap.benchmarks.verify.certificate import Verdict, certify_part
from maskgap.instances.convex_function import ConvexFunction
from maskgap.instances.errors import InputError
from maskgap.instances.formats.evidence.enumeration import Enumeration
from maskgap.instances.formats.evidence.leaves import Leaves
from maskgap.instances.formats.proof import PartProof
from maskgap.instances.layer import Layer
from maskgap.instances.triangles import Triangles
from tests.helpers.exact import losses
from tests.helpers.hostile import holds_or_is_refused, rooted, row_in_range, row_of, tree
from tests.helpers.legal_masks import legal_pruned
from tests.helpers.tiny import random_layer


@pytest.mark.parametrize("power", [0, 20, 40, 53, 60, 90, 98])
@pytest.mark.parametrize("raised", [1e-9, 1e-3, 1.0, 1e3])
def test_multipliers_that_cancel_bound_no_more_than_the_optimum(power, raised):
    """Large alpha of one row, u to match, and a little more of u than is allowed."""
    layer = random_layer(2, 6)
    part = row_of(layer, "keep=3")
    size = 2.0**power
    least = np.linalg.eigvalsh(part.quad)[0]
    for sign in (1.0, -1.0):
        function = ConvexFunction(np.full(6, least + raised), np.full((1, 6), sign * size))
        holds_or_is_refused(part, rooted(part, function, np.full(6, 0.5)))
    # the diagonal of the alpha term is taken back by u, its other entries are not
    function = ConvexFunction(np.full(6, least + raised + size), np.full((1, 6), size))
    holds_or_is_refused(part, rooted(part, function, np.full(6, 0.5)))


@pytest.mark.parametrize("power", [0, 20, 40, 53, 60, 90])
def test_triangles_that_cancel_bound_no_more_than_the_optimum(power):
    """The four terms of one triple sum to the constant 1: P is as without, c is not."""
    part = row_of(random_layer(2, 6), "keep=3")
    u = np.full(6, np.linalg.eigvalsh(part.quad)[0] * (1 - 1e-9))
    for columns in ((0, 1, 2), (-1, 0, 1)):
        triangles = Triangles(
            np.array([columns] * 4, np.int32),
            np.array([-1, 0, 1, 2], np.int16),
            np.full(4, 2.0**power) * (1 + np.array([0, 0, 0, 2.0**-52])),
        )
        function = ConvexFunction(u, np.zeros((1, 6)), triangles)
        holds_or_is_refused(part, rooted(part, function, np.full(6, 0.5)))


BAD_NUMBERS = (np.nan, np.inf, -np.inf, 1e300, -1e300, 1e155)


@pytest.mark.parametrize("value", BAD_NUMBERS)
@pytest.mark.parametrize("where", ["u", "alpha", "weight", "points"])
def test_numbers_that_are_none_bound_nothing(value, where):
    part = row_of(random_layer(3, 6), "keep=3")
    triangles = Triangles(np.array([[0, 1, 2]], np.int32), np.zeros(1, np.int16), np.array([1e-3]))
    function = ConvexFunction(np.full(6, -0.1), np.zeros((1, 6)), triangles)
    proof = rooted(part, function, np.full(6, 0.5))
    assert holds_or_is_refused(part, proof)
    if where == "points":
        with np.errstate(over="ignore"):
            points = np.full((1, 6), np.float32(value))
        altered = replace(proof.evidence, points=points)
    elif where == "weight":
        triangles = replace(triangles, weight=np.array([value]))
        altered = replace(proof.evidence, functions=(replace(function, triangles=triangles),))
    else:
        array = getattr(function, where).copy()
        array.flat[3] = value
        altered = replace(proof.evidence, functions=(replace(function, **{where: array}),))
    assert not holds_or_is_refused(part, replace(proof, evidence=altered))


@pytest.mark.parametrize("keep", [0, 1, 2, 3])
@pytest.mark.parametrize("scale", [1e-157, 1e-100, 1e90, 1e100])
def test_lists_of_masks_whose_losses_overflow_bound_nothing(keep, scale):
    """A minimum skips NaN; leaves of one mask likewise."""
    gram = np.array([[1.0, 0, 0], [0, 0, 1e-6], [0, 1e-6, 0]])
    weight = np.array([[scale, 1.0, 1.0]])
    part = row_in_range(weight, gram, f"keep={keep}")
    if part is None:
        return
    stated = PartProof(0, part.digest, 1e300, None, Enumeration())
    assert not holds_or_is_refused(part, stated)
    holds_or_is_refused(part, replace(stated, bound=0.0))
    if keep in (0, 3):
        none = Leaves(
            (), np.array([-1], np.int32), np.array([-1], np.int16), np.array([-1], np.int32),
            np.zeros((0, 3), np.float32),
        )  # fmt: skip
        assert not holds_or_is_refused(part, tree(part, none, bound=1e300))
        holds_or_is_refused(part, tree(part, none))


def never_proved_falsely(part, pruned):
    """The certificate of each mask, with the list of all as proof, against the exact optimum."""
    proof = PartProof(part.row, part.digest, 0.0, None, Enumeration())
    exact = losses(part, pruned)
    for z, loss in zip(pruned, exact, strict=True):
        found = certify_part(part, ~z, proof=proof)
        assert Fraction(found.objective_low) <= loss <= Fraction(found.objective_high)
        assert found.verdict is not Verdict.WRONG
        if found.verdict is Verdict.PROVED:
            assert loss - min(exact) <= Fraction(1e-6) * loss


@pytest.mark.parametrize("low", [1e-60, 1e-70, 1e-100])
def test_a_loss_that_underflows_is_not_proved(low):
    weight = np.array([[1e100, low, 2 * low, 3 * low]])
    part = row_in_range(weight, np.eye(4) * 1e50, "keep=3")
    if part is None:
        return
    never_proved_falsely(part, legal_pruned(part.layer, "keep=3", [0]))


@pytest.mark.parametrize("seed", range(40))
def test_a_loss_that_is_left_after_cancellation_is_not_proved_falsely(seed):
    rng = np.random.default_rng([32, seed])
    inputs = rng.normal(size=(6, 2))
    for j in (1, 3, 5):
        inputs[j] = -inputs[j - 1] + 10.0 ** rng.integers(-12, -6) * rng.normal(size=2)
    part = row_of(Layer.from_arrays(np.ones((1, 6)), inputs @ inputs.T), "keep=4")
    never_proved_falsely(part, legal_pruned(part.layer, "keep=4", [0]))


@pytest.mark.parametrize("dtype", ["f2", "f4", "f8", "i1", "i2", "i4", "i8", "u1"])
@pytest.mark.parametrize("name", ["column_cost", "forced"])
def test_whole_numbers_of_any_dtype_are_read_without_a_warning(name, dtype):
    shape = (1, 6) if name == "forced" else (6,)
    plain = random_layer(1, 6)
    layer = Layer.from_arrays(plain.weight, plain.gram, **{name: np.ones(shape, dtype)})
    assert (getattr(layer, name) == 1).all()


@pytest.mark.parametrize("tokens", ["0", "-1", "1.5", "", "x", "٣", "9" * 400, "9" * 5000])
def test_numbers_of_tokens_that_are_none_are_refused_in_one_line(tokens):
    plain = random_layer(1, 6)
    with pytest.raises(InputError, match="tokens") as refused:
        Layer.from_arrays(
            plain.weight, plain.gram, None, {"tokens": tokens}, input_mean=np.zeros(6)
        )
    assert len(str(refused.value)) < 300


@pytest.mark.parametrize("diagonal", [0.0, 5e-324, 1e-310, 1e-200, 1e-15])
@pytest.mark.parametrize("off", [0.0, 5e-324, 1e-300, 1e-20, 1e-7])
def test_losses_of_columns_with_next_to_no_diagonal_are_enclosed(diagonal, off):
    """A Gram that is indefinite by rounding may have entries far above its diagonal."""
    gram = np.eye(6)
    gram[0, 0] = gram[1, 1] = diagonal
    gram[0, 1] = gram[1, 0] = gram[0, 2] = gram[2, 0] = off
    weight = np.array([[1.0, -1.0, 0.0, 2.0, 0.5, 1e-9]])
    for keep in (0, 2, 4, 6):
        part = row_of(Layer.from_arrays(weight, gram), f"keep={keep}")
        never_proved_falsely(part, legal_pruned(part.layer, f"keep={keep}", [0]))

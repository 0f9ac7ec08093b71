"""What an objective may be, and which numbers its Hessian has."""

from fractions import Fraction
from math import fsum

import numpy as np
import pytest

from maskgap.instances.errors import InputError
from maskgap.instances.hessian import Hessian
from maskgap.instances.layer import Layer
from maskgap.instances.objective import DEFAULT_RIDGE, MASK, ObjectiveName, objective_spec


def layer_of(gram, rows=2, seed=0):
    weight = np.random.default_rng(seed).normal(size=(rows, len(gram)))
    return Layer.from_arrays(weight, gram)


def random_gram(n, tokens=None, seed=0):
    inputs = np.random.default_rng(seed).normal(size=(n, tokens or 3 * n))
    return inputs @ inputs.T


def test_an_objective_is_told_by_name_and_ridge():
    assert objective_spec("mask") == MASK
    assert objective_spec("refit").ridge == DEFAULT_RIDGE
    assert objective_spec("refit", 0).ridge == 0.0
    assert objective_spec("refit", 0.5).name is ObjectiveName.REFIT
    assert objective_spec("refit", -0.0).ridge.hex() == (0.0).hex()


@pytest.mark.parametrize(
    ("name", "ridge", "said"),
    [
        ("refitt", None, "did you mean refit?"),
        ("loss", None, "the objectives are mask, refit"),
        ("mask", 0.01, "leave it out"),
        ("refit", -1.0, "at least 0"),
        ("refit", float("nan"), "finite"),
        ("refit", float("inf"), "finite"),
    ],
)
def test_what_an_objective_cannot_be_is_one_line(name, ridge, said):
    with pytest.raises(InputError, match=said.replace("?", r"\?")) as error:
        objective_spec(name, ridge)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize("ridge", [0.0, 0.01, 0.3])
def test_h_is_the_gram_with_its_ridge_to_the_last_bit(ridge):
    gram = random_gram(6)
    hessian = Hessian.of(layer_of(gram), ridge)
    shift = ridge * (fsum(np.diag(gram)) / 6)
    expected = gram.copy()
    for j in range(6):
        expected[j, j] = gram[j, j] + shift
    unit, exponent = hessian.unit
    assert np.array_equal(np.ldexp(unit, exponent), expected)
    assert np.array_equal(hessian.block([4, 1], [1, 2, 4]), expected[np.ix_([4, 1], [1, 2, 4])])
    assert 0.5 <= unit.diagonal().max() < 1.0


def test_there_is_one_object_a_layer_and_ridge():
    layer = layer_of(random_gram(4))
    assert Hessian.of(layer, 0.1) is Hessian.of(layer, 0.1)
    assert Hessian.of(layer, 0.1) is not Hessian.of(layer, 0.2)
    digests = {Hessian.of(layer, ridge).digest for ridge in (0.0, 0.1, 0.2)}
    assert len(digests) == 3


def test_the_least_eigenvalue_is_bounded_from_below_in_exact_arithmetic():
    for seed, (n, ridge) in enumerate([(3, 0.0), (4, 0.01), (5, 0.2)]):
        hessian = Hessian.of(layer_of(random_gram(n, seed=seed)), ridge)
        rest = [[Fraction(v) for v in row] for row in hessian.unit[0].tolist()]
        for j in range(n):
            rest[j][j] -= Fraction(hessian.least)
        assert hessian.least > 0.0
        while rest:  # positive pivots of H - least I
            assert rest[0][0] > 0
            rest = [
                [rest[i][j] - rest[i][0] * rest[0][j] / rest[0][0] for j in range(1, len(rest))]
                for i in range(1, len(rest))
            ]


def test_a_singular_gram_needs_a_ridge():
    gram = random_gram(6, tokens=3)
    Hessian.of(layer_of(gram), 0.01).require_definite()
    with pytest.raises(InputError, match="without a ridge is not positive definite") as error:
        Hessian.of(layer_of(gram), 0.0).require_definite()
    assert "larger ridge, such as 0.01" in str(error.value)
    with pytest.raises(InputError, match="not positive definite"):
        Hessian.of(layer_of(np.zeros((3, 3))), 0.01).require_definite()
    with pytest.raises(InputError, match="leaves the range"):
        Hessian.of(layer_of(random_gram(3)), 1e308).require_definite()

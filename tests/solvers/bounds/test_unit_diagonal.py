"""The units of a unit diagonal: known by hand, on both kinds of arrays, dead columns among them."""

import numpy as np
import pytest
import torch

from maskgap.solvers.bounds.unit_diagonal import UnitDiagonal, scaled

GRAM = np.array([[4.0, 0.0, 3.0], [0.0, 0.0, 0.0], [3.0, 0.0, 9.0]])


def test_a_gram_and_its_roots_are_those_known_by_hand():
    units = UnitDiagonal.of(GRAM)
    np.testing.assert_array_equal(units.root, [2.0, 0.0, 3.0])
    np.testing.assert_array_equal(units.inverse, [0.5, 0.0, 1.0 / 3.0])
    expected = [[1.0, 0.0, 0.5], [0.0, 0.0, 0.0], [0.5, 0.0, 1.0]]
    np.testing.assert_allclose(scaled(GRAM, units.inverse), expected, rtol=1e-15)


@pytest.mark.parametrize("least", [0.0, -1e-30])
def test_a_diagonal_without_energy_has_a_zero_row(least):
    gram = GRAM.copy()
    gram[1, 1] = least
    units = UnitDiagonal.of(gram)
    assert units.root[1] == units.inverse[1] == 0.0
    assert not scaled(gram, units.inverse)[1].any()


def test_tensors_are_scaled_as_arrays_are():
    inverse = UnitDiagonal.of(GRAM).inverse
    tensor = scaled(torch.from_numpy(GRAM), torch.from_numpy(inverse))
    np.testing.assert_array_equal(tensor.numpy(), scaled(GRAM, inverse))

"""Grams stored by a factor of whole numbers: exact, semidefinite, close to what was stored."""

from fractions import Fraction

import numpy as np
import pytest

from maskgap.instances.errors import InputError
from maskgap.instances.formats.factor import FACTOR, UNITS, factored, gram_of
from maskgap.instances.formats.files import read_layer, write_factored, write_tensors
from tests.helpers.tiny import random_layer


def scaled(seed, n=12, spread=6.0):
    """A layer whose columns have scales of many magnitudes."""
    layer = random_layer(seed, n, rows=2)
    scale = 10.0 ** np.linspace(-spread, spread, n)
    gram = layer.gram * np.multiply.outer(scale, scale)
    return type(layer).from_arrays(layer.weight, gram, None, {"layer": "toy"}, "toy")


def test_what_is_read_is_the_product_of_the_stored_numbers_exactly():
    stored = factored(scaled(0).gram)
    gram = gram_of(stored[FACTOR], stored[UNITS], "file")
    units, rows = stored[UNITS].tolist(), [[0] * 12 for _ in range(12)]
    for (i, j), value in zip(np.argwhere(np.tril(np.ones((12, 12)))), stored[FACTOR], strict=True):
        rows[i][j] = int(value)
    for i in range(12):
        assert 1 << 14 <= max(map(abs, rows[i])) < 1 << 15
        for j in range(12):
            product = sum(a * b for a, b in zip(rows[i], rows[j], strict=True))
            assert Fraction(gram[i, j]) == product * Fraction(2) ** (units[i] + units[j])


def test_a_layer_comes_back_close_and_the_same_each_time(tmp_path):
    layer = scaled(1)
    path = tmp_path / "a.safetensors"
    write_factored(path, layer)
    again = read_layer(path)
    size = np.sqrt(np.multiply.outer(layer.gram.diagonal(), layer.gram.diagonal()))
    assert np.abs(again.gram - layer.gram).max() > 0
    assert (np.abs(again.gram - layer.gram) / size).max() < 2.0**-13
    np.testing.assert_array_equal(again.weight, layer.weight)
    assert again.gram_roundoff == layer.gram_roundoff  # that of float64
    write_factored(path, again)
    assert read_layer(path).digest == again.digest


def test_bad_factors_are_named(tmp_path):
    path = tmp_path / "a.safetensors"
    stored = factored(scaled(2).gram)
    meta = {"format": "maskgap-layer/1"}
    weight = {"weight": np.ones((1, 12))}
    for changed in (
        {FACTOR: stored[FACTOR]},
        {**stored, FACTOR: stored[FACTOR][:-1]},
        {**stored, FACTOR: stored[FACTOR].astype(np.int32)},
        {**stored, UNITS: np.full(12, 500, dtype=np.int16)},
        {**stored, UNITS: np.full(12, -32768, dtype=np.int16)},
        {**stored, UNITS: stored[UNITS][None]},
    ):
        write_tensors(path, {**weight, **changed}, meta)
        with pytest.raises(InputError, match="expected int16 tensors 'gram_factor'") as caught:
            read_layer(path)
        assert str(path) in str(caught.value)
    with pytest.raises(InputError, match="only where it is definite"):
        factored(np.zeros((2, 2)))
    with pytest.raises(InputError, match="too large or too small"):
        factored(np.eye(2) * 1e-300)

"""Grams of wide layers, whose products are float32, against float64; what falls back to it."""

import numpy as np
import pytest
import torch

from maskgap.instances.models import gram
from maskgap.instances.models.gram import GramSum


def exact(x):
    wide = x.double().numpy()
    return wide.T @ wide


def of(*parts):
    total = GramSum(parts[0].shape[1])
    for part in parts:
        total.add(part)
    return total.matrix()


def inputs(tokens, columns, mean=0.0):
    """Correlated inputs whose columns have scales from 1e-3 to 1e3, a few of them with outliers."""
    rng = np.random.default_rng(0)
    x = rng.normal(size=(tokens, columns)) @ rng.normal(size=(columns, columns)) / columns**0.5
    x[rng.integers(tokens, size=4), rng.integers(columns, size=4)] = 500.0
    return torch.from_numpy((x + mean) * 10 ** rng.uniform(-3, 3, columns)).float()


def test_products_under_autocast_keep_their_digits():
    """Autocast rounds what is given to a product of float32 to bfloat16."""
    x = inputs(100, 512)
    with torch.autocast("cpu", torch.bfloat16):
        found = of(x)
    np.testing.assert_array_equal(found, of(x))


@pytest.mark.parametrize("mean", [0.0, 1000.0])
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float16])
def test_entries_of_float32_products_are_those_of_float64_to_a_few_parts_in_1e7(mean, dtype):
    x = inputs(3000, 512, mean).to(dtype)
    x = x[:, torch.isfinite(x).all(dim=0)]  # float16 ends at 65504
    if x.shape[1] < gram.NARROW:
        x = torch.cat([x, x[:, : gram.NARROW - x.shape[1]]], dim=1)
    found, true = of(x[:700], x[700:]), exact(x)
    scale = np.sqrt(np.outer(true.diagonal(), true.diagonal()))
    assert (np.abs(found - true) / scale).max() < 5e-7
    np.testing.assert_array_equal(found, found.T)


def test_directions_of_little_variance_beside_a_large_mean_are_kept():
    rng = np.random.default_rng(1)
    x = torch.from_numpy(1000.0 + rng.normal(size=(4000, 512))).float()
    found, true = np.linalg.eigvalsh(of(x)), np.linalg.eigvalsh(exact(x))
    np.testing.assert_allclose(found[:-1], true[:-1], rtol=1e-4)
    naive = np.linalg.eigvalsh((x.T @ x).double().numpy())
    assert abs(naive[0] / true[0] - 1) > 0.1  # what products without centring make of it


def test_a_gram_of_fewer_tokens_than_columns_passes_the_door_of_a_layer():
    from maskgap.instances.layer import Layer

    x = inputs(100, 512)
    Layer.from_arrays(np.ones((1, 512)), of(x))
    least = np.linalg.eigvalsh(of(x))[0]
    assert least > -1e-8 * of(x).trace()


@pytest.mark.parametrize("scale", [1e25, 1e-25])
def test_squares_beyond_float32_are_formed_in_float64(scale):
    x = inputs(300, 512) * scale
    np.testing.assert_allclose(of(x), exact(x), rtol=1e-9, atol=1e-12 * exact(x).max())


def test_means_of_many_blocks_are_folded_as_they_come(monkeypatch):
    monkeypatch.setattr(gram, "FOLDED", 3)
    monkeypatch.setattr(gram, "TOKENS", 64)
    x = inputs(1000, 512, 1000.0)
    true = exact(x)
    scale = np.sqrt(np.outer(true.diagonal(), true.diagonal()))
    assert (np.abs(of(x) - true) / scale).max() < 5e-7

"""Synthetic layers: each axis does what it says, and the text of a family reads back."""

from dataclasses import replace

import numpy as np
import pytest

from maskgap.instances.errors import InputError
from maskgap.instances.sources.families import OUTLIER_SCALE, SPREADS, Family, parse_family


def log_diagonal(layer):
    return np.log(layer.weight**2 * layer.gram.diagonal())


def unit(gram):
    norms = np.sqrt(gram.diagonal())
    return gram / np.outer(norms, norms)


def columns(layer, key):
    return [int(i) for i in layer.meta[key].split()]


def test_text_reads_back():
    text = (
        "synthetic:n=32,rows=2,spread=flat,rank=16,correlation=0.5,"
        "duplicates=2,dead=1,outliers=1,seed=3"
    )
    family = parse_family(text)
    assert family == Family(32, 2, 0.0, 16, 0.5, 2, 1, 1, 3)
    assert parse_family(str(family)) == family
    assert parse_family("synthetic:") == Family()
    assert parse_family(str(Family())) == Family()
    assert family.layer().meta["family"] == str(family)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("synthetic:m=3", "no key 'm'; the keys are n, rows"),
        ("synthetic:n", "n= is not a whole number"),
        ("synthetic:n=3,n=4", "given twice"),
        ("synthetic:n=3.5", "whole number"),
        ("synthetic:n=-3", "whole number"),
        ("synthetic:n=0", "n=0 is not 1 to"),
        ("synthetic:rows=0", "rows=0"),
        ("synthetic:spread=wide", "not a number of 0 or more, or flat, normal, heavy"),
        ("synthetic:spread=nan", "spread=nan"),
        ("synthetic:spread=1e9", "spread=1"),
        ("synthetic:correlation=1.5", "not 0 to 1"),
        ("synthetic:correlation=-0.5", "not a number of 0 or more"),
        ("synthetic:n=4,rank=5", "rank=5 is not 1 to n = 4"),
        ("synthetic:n=4,rank=0", "rank=0"),
        ("synthetic:n=4,duplicates=2,dead=1", "are 5, but n is 4"),
        ("flat:n=4", "does not start with"),
    ],
)
def test_what_cannot_be_made_is_refused(text, message):
    with pytest.raises(InputError, match=message):
        parse_family(text)


def test_a_seed_gives_the_same_bits_and_another_seed_others():
    family = parse_family("synthetic:n=12,rows=2,correlation=0.25,seed=5")
    # A fixed value: the layer is the same on every machine, not only in this process.
    assert family.layer().digest == (
        "03f8508cd6fb4edf583fe401c1100bb8808411df5559e993025cde37a323d060"
    )
    first, second = family.layer(), family.layer()
    assert first.digest == second.digest
    np.testing.assert_array_equal(first.gram_eval, second.gram_eval)
    assert replace(family, seed=6).layer().digest != first.digest


def test_sums_are_exact_in_any_order():
    """What makes the bits the same: the sums equal those of whole numbers of any size."""
    family = Family(n=40, rank=30, correlation=0.3, spread=0.0)
    gram = family.layer().gram
    random = np.random.default_rng([family.seed, 1])
    common, own = random.standard_normal(30), random.standard_normal((40, 30))
    x = np.rint((np.sqrt(0.3) * common + np.sqrt(0.7) * own) * 1024).astype(object)
    raw = np.array([[int(a @ b) for b in x] for a in x], dtype=object)
    assert max(raw.ravel()) < 2**53
    raw = raw.astype(np.float64)
    np.testing.assert_array_equal(gram, raw / np.sqrt(np.outer(raw.diagonal(), raw.diagonal())))


@pytest.mark.parametrize(("name", "spread"), SPREADS.items())
def test_spread_of_the_diagonal(name, spread):
    layer = parse_family(f"synthetic:n=500,rows=8,rank=20,spread={name}").layer()
    assert log_diagonal(layer).std() == pytest.approx(spread, rel=0.08)


def test_a_flat_diagonal_is_exactly_flat():
    layer = parse_family("synthetic:n=64,rows=3,spread=flat,correlation=0.7").layer()
    assert set(np.unique(layer.weight)) == {-1.0, 1.0}
    np.testing.assert_array_equal(layer.gram.diagonal(), np.ones(64))


@pytest.mark.parametrize("rank", [1, 5, 24, None])
@pytest.mark.parametrize("correlation", [0.0, 0.5])
def test_rank(rank, correlation):
    layer = Family(n=24, rank=rank, correlation=correlation).layer()
    for gram in (layer.gram, layer.gram_eval):
        assert np.linalg.matrix_rank(unit(gram), tol=1e-9) == (rank or 24)


@pytest.mark.parametrize("correlation", [0.0, 0.3, 0.9])
def test_mean_correlation(correlation):
    gram = unit(Family(n=200, correlation=correlation, seed=1).layer().gram)
    assert gram[np.triu_indices(200, 1)].mean() == pytest.approx(correlation, abs=0.05)


def test_correlation_one_is_rank_one():
    layer = Family(n=16, correlation=1.0).layer()
    np.testing.assert_allclose(unit(layer.gram), 1.0, rtol=1e-12)


def test_duplicates_are_ties_to_the_last_bit():
    layer = Family(n=20, rows=3, duplicates=4, spread=3.0, seed=2).layer()
    copies, originals = columns(layer, "copies"), columns(layer, "originals")
    assert len({*copies, *originals}) == 8
    for gram in (layer.gram, layer.gram_eval):
        np.testing.assert_array_equal(gram[copies], gram[originals])
        np.testing.assert_array_equal(gram.diagonal()[copies], gram[copies, originals])
    np.testing.assert_array_equal(layer.weight[:, copies], layer.weight[:, originals])


def test_dead_columns_have_no_input_in_either_gram():
    layer = Family(n=20, dead=3).layer()
    dead = columns(layer, "dead")
    assert len(dead) == 3
    assert set(np.flatnonzero(layer.gram.diagonal() == 0)) == set(dead)
    assert not layer.gram[dead].any()
    assert not layer.gram_eval[dead].any()
    assert layer.weight[:, dead].all()


def test_outlier_columns_are_the_same_columns_scaled():
    plain, scaled = Family(n=20, spread=0.0).layer(), Family(n=20, spread=0.0, outliers=2).layer()
    norms = np.ones(20)
    norms[columns(scaled, "outliers")] = OUTLIER_SCALE
    np.testing.assert_array_equal(scaled.gram, plain.gram * np.outer(norms, norms))


def test_the_held_out_gram_has_other_inputs_of_the_same_columns():
    layer = Family(n=30, rank=10, correlation=0.5, spread=3.0).layer()
    np.testing.assert_allclose(layer.gram.diagonal(), layer.gram_eval.diagonal(), rtol=1e-12)
    assert np.abs(unit(layer.gram) - unit(layer.gram_eval)).max() > 0.1
    assert layer.meta["tokens"] == "10"


def test_all_axes_at_once_make_a_valid_layer():
    for seed in range(20):
        family = Family(12, 2, 10.0, 1 + seed % 12, seed / 19, 2, 3, 4, seed)
        layer = family.layer()
        assert layer.weight.shape == (2, 12)
        assert layer.name == str(family)

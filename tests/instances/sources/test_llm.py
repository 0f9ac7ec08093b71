"""Synthetic layers of language models: seeded, exact, with outlier channels on every token."""

import numpy as np
import pytest

from maskgap.instances.errors import InputError
from maskgap.instances.layer import Layer
from maskgap.instances.sources import llm
from maskgap.instances.sources.llm import LlmFamily, parse_llm


def test_text_reads_back():
    text = "llm:rows=8,n=64,tokens=100,outliers=3,seed=2"
    assert parse_llm(text) == LlmFamily(8, 64, 100, 3, 2)
    assert str(parse_llm(text)) == text
    assert parse_llm(str(LlmFamily())) == LlmFamily()


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("llm:m=3", "no key 'm'; the keys are rows, n"),
        ("llm:n=3,n=4", "given twice"),
        ("llm:n=-3", "whole number"),
        ("llm:n=0", "n=0 is not 1 to"),
        ("llm:tokens=0", "tokens=0"),
        ("llm:n=4,outliers=5", "outliers=5 is not 0 to 4"),
        ("synthetic:n=4", "does not start with 'llm:'"),
    ],
)
def test_what_cannot_be_made_is_refused(text, message):
    with pytest.raises(InputError, match=message):
        parse_llm(text)


def test_a_seed_gives_the_same_bits_and_another_seed_others():
    layer = LlmFamily(4, 48, seed=5).layer()
    # A fixed value: the layer is the same on every machine, not only in this process.
    assert layer.digest == ("712d2bcd1107da87d40ef62bc640741444ad14361937f4ed1fcbba11acfcc3b7")
    assert LlmFamily(4, 48, seed=6).layer().digest != layer.digest


@pytest.mark.parametrize("block", [1, 7, 40])
def test_the_blocks_in_which_the_gram_is_scaled_do_not_show(monkeypatch, block):
    whole = LlmFamily(2, 40, tokens=30).layer()
    monkeypatch.setattr(llm, "BLOCK", block)
    np.testing.assert_array_equal(LlmFamily(2, 40, tokens=30).layer().gram, whole.gram)


def test_it_is_a_valid_layer_of_inputs_near_1():
    layer = LlmFamily(6, 96).layer()
    again = Layer.from_arrays(
        layer.weight, layer.gram, None, layer.meta, "x", input_mean=layer.input_mean
    )
    np.testing.assert_array_equal(again.gram, layer.gram)
    assert 0.5 < np.median(layer.gram.diagonal()) / int(layer.meta["tokens"]) < 2
    assert layer.gram.flags.c_contiguous
    assert np.linalg.eigvalsh(layer.gram).min() > 0
    assert layer.name == "llm:rows=6,n=96,seed=0"


def test_fewer_tokens_than_columns_give_a_singular_gram():
    layer = LlmFamily(1, 40, tokens=10).layer()
    norms = np.sqrt(layer.gram.diagonal())
    assert np.linalg.matrix_rank(layer.gram / np.outer(norms, norms), tol=1e-9) == 10


def test_outliers_are_large_and_consistent_over_tokens():
    layer = LlmFamily(1, 512, outliers=5, seed=3).layer()
    outliers = [int(i) for i in layer.meta["outliers"].split()]
    norms = np.sqrt(layer.gram.diagonal())
    ratio = norms[outliers] / np.median(norms)
    assert len(outliers) == 5
    assert ((ratio > 8) & (ratio < 600)).all()
    assert np.sort(norms)[-6] < norms[outliers].min()
    # Most of an outlier's energy is its mean, so it is large on every token.
    energy = layer.gram.diagonal() / int(layer.meta["tokens"])
    share = layer.input_mean**2 / energy
    assert (share[outliers] > 0.7).all()
    assert np.delete(share, outliers).mean() < 0.1


def test_scales_spread_and_few_directions_have_most_of_the_energy():
    layer = LlmFamily(1, 512, outliers=0, seed=3).layer()
    norms = np.sqrt(layer.gram.diagonal())
    assert np.log(norms).std() == pytest.approx(llm.SPREAD, rel=0.15)
    values = np.linalg.eigvalsh(layer.gram / np.outer(norms, norms))[::-1]
    assert values[: llm.FACTORS].sum() > 0.5 * 512
    assert values.min() > 0.01


def test_weights_have_heavy_tails():
    weight = LlmFamily(256, 256).layer().weight.ravel()
    deviation = weight - weight.mean()
    kurtosis = (deviation**4).mean() / (deviation**2).mean() ** 2
    assert kurtosis > 4
    assert (weight**2).mean() * 256 == pytest.approx(1.0, rel=0.1)

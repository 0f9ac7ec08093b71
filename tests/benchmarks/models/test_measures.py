"""Measures of what pruning did to a model, computed by hand."""

import math

import numpy as np
import pytest
import torch

from maskgap.benchmarks.models.fidelity import Divergence, Embeddings, Likelihood, RelativeError
from maskgap.instances.errors import InputError

UNIFORM = torch.zeros(4)
SURE = torch.tensor([0.0, math.log(3.0), 0.0, 0.0])  # probabilities 1/6, 1/2, 1/6, 1/6


def test_perplexity_is_that_of_the_tokens_predicted_within_each_window():
    table = torch.stack([SURE, UNIFORM, UNIFORM, UNIFORM])  # logits after each token
    ids = torch.tensor([[0, 1, 2], [3, 0, 0]])
    found = Likelihood()
    found.add(table[ids], ids, None)
    # 0 -> 1: 1/2; 1 -> 2: 1/4; 3 -> 0: 1/4; 0 -> 0: 1/6; the first of a window is not predicted
    assert found.predicted == 4
    assert found.perplexity == pytest.approx((2 * 4 * 4 * 6) ** (1 / 4), rel=1e-6)


@pytest.mark.parametrize("left", [False, True])
def test_padding_is_neither_predicted_nor_predicted_from(left):
    ids = torch.tensor([[3, 0, 1]] if left else [[0, 1, 3]])
    real = torch.tensor([[False, True, True]] if left else [[True, True, False]])
    found = Likelihood()
    found.add(torch.stack([SURE, UNIFORM, UNIFORM, UNIFORM])[ids], ids, real)
    assert (found.predicted, found.perplexity) == (1, pytest.approx(2.0, rel=1e-6))


def test_no_prediction_is_no_perplexity_and_a_hopeless_one_is_infinite():
    found = Likelihood()
    found.add(torch.zeros(1, 1, 4), torch.zeros(1, 1, dtype=torch.int64), None)
    assert found.perplexity is None
    found.add(torch.tensor([[[1e4, 0.0], [0.0, 0.0]]]), torch.tensor([[0, 1]]), None)
    assert found.perplexity == math.inf


def test_divergence_in_nats():
    found = Divergence()
    found.add(torch.stack([SURE, UNIFORM]), torch.stack([UNIFORM, UNIFORM]))
    expected = 0.5 * math.log(2) + 3 / 6 * math.log(4 / 6)  # KL(SURE || uniform)
    assert found.value == pytest.approx(expected / 2, rel=1e-5)
    assert Divergence().value is None


def test_relative_error_of_rows():
    found = RelativeError()
    found.add(torch.tensor([[3.0, 4.0]]), torch.tensor([[3.0, 2.0]]))
    found.add(torch.tensor([[0.0, 5.0]]), torch.tensor([[1.0, 5.0]]))
    assert found.value == 5 / 50
    with pytest.raises(InputError, match="one architecture"):
        found.add(torch.ones(1, 2), torch.ones(1, 3))
    assert RelativeError().value is None


def test_embeddings_pool_real_tokens_and_agree_up_to_rotation_and_scale():
    states = torch.tensor([[[1.0, 0], [9, 9]], [[0, 2], [2, 0]], [[1, 1], [3, 1]]])
    real = torch.tensor([[True, False], [True, True], [True, True]])
    turned = 3 * states @ torch.tensor([[0.0, 1], [-1, 0]])
    found = Embeddings()
    found.add(states, turned, real)
    np.testing.assert_array_equal(found.dense, [[1, 0], [1, 1], [2, 1]])
    agreement = found.agreement()
    assert agreement["texts"] == 3
    assert agreement["cosine"] == pytest.approx(0.0, abs=1e-12)  # a quarter turn
    assert agreement["pearson"] == pytest.approx(1.0)
    assert agreement["spearman"] == pytest.approx(1.0)
    assert Embeddings().agreement() is None


def test_correlations_of_pairs_by_hand():
    angles = {"dense": [0, 10, 40, 100], "pruned": [0, 55, 40, 100]}
    found = Embeddings()
    for dense, pruned in zip(*angles.values(), strict=True):
        vectors = [
            torch.tensor([[[math.cos(t), math.sin(t)]]], dtype=torch.float64)
            for t in np.radians([dense, pruned])
        ]
        found.add(*vectors, None)
    one, other = (
        [math.cos(math.radians(a - b)) for i, a in enumerate(x) for b in x[i + 1 :]]
        for x in angles.values()
    )
    from scipy.stats import pearsonr, spearmanr

    agreement = found.agreement()
    assert agreement["pearson"] == pytest.approx(pearsonr(one, other).statistic, rel=1e-12)
    assert agreement["spearman"] == pytest.approx(spearmanr(one, other).statistic, rel=1e-12)
    assert agreement["cosine"] == pytest.approx((3 + math.cos(math.radians(45))) / 4)


def test_too_few_or_equal_texts_have_no_correlation():
    found = Embeddings()
    found.add(torch.ones(2, 1, 2), torch.ones(2, 1, 2), None)
    assert found.agreement()["spearman"] is None
    found.add(torch.ones(1, 1, 2), torch.ones(1, 1, 2), None)
    agreement = found.agreement()
    assert (agreement["pearson"], agreement["spearman"]) == (None, None)
    assert agreement["cosine"] == pytest.approx(1.0)

"""Matrices that are given one tensor share one Gram; those that only seem to do not."""

import numpy as np
import torch
from torch import nn

from maskgap.instances.models.collect import accumulate
from maskgap.instances.models.linear import choose_linear
from tests.helpers.toys import GRAM, TOKENS


class Two(nn.Module):
    """Layers a and b, and what is done to their inputs."""

    def __init__(self, change):
        super().__init__()
        self.a, self.b, self.calls, self.change = nn.Linear(3, 2), nn.Linear(3, 2), 0, change

    def forward(self, x):
        self.calls += 1
        x = x + 0
        self.a(x)
        return self.b(self.change(x, self.calls))


def sums(model, batches):
    sites = choose_linear(model, "*", (), lambda name, reason: None)
    found = accumulate(model, sites, batches, "calibration", None)
    return {name: collector.sum for name, collector in found.items()}


def test_the_same_tensor_is_summed_once():
    model = Two(lambda x, call: x)
    found = sums(model, [TOKENS, 2 * TOKENS])
    assert found["a"] is found["b"]
    np.testing.assert_array_equal(found["a"].matrix(), 5 * GRAM)
    assert model.calls == 2


def test_a_copy_or_a_tensor_written_to_in_between_is_another_one():
    for change, factor in ((lambda x, call: x.clone(), 1), (lambda x, call: x.mul_(2), 4)):
        found = sums(Two(change), [TOKENS])
        assert found["a"] is not found["b"]
        np.testing.assert_array_equal(found["a"].matrix(), GRAM)
        np.testing.assert_array_equal(found["b"].matrix(), factor * GRAM)


def test_a_follower_that_goes_its_own_way_later_has_a_gram_of_its_own_from_the_beginning():
    model = Two(lambda x, call: x if call == 1 or call == 3 else 3 * x)
    found = sums(model, [TOKENS, TOKENS])  # parts in batch 2; then all runs again
    assert model.calls == 4
    assert found["a"] is not found["b"]
    np.testing.assert_array_equal(found["a"].matrix(), 2 * GRAM)
    np.testing.assert_array_equal(found["b"].matrix(), (1 + 9) * GRAM)


def test_a_follower_that_is_not_called_in_a_later_batch_has_fewer_tokens():
    class Sometimes(Two):
        def forward(self, x):
            x = x + 0
            self.a(x)
            return self.b(x) if len(x) > 1 else x

    found = sums(Sometimes(None), [TOKENS, TOKENS[:1]])
    assert (found["a"].tokens, found["b"].tokens) == (5, 4)
    np.testing.assert_array_equal(found["b"].matrix(), GRAM)


def test_query_key_and_value_of_an_attention_share():
    class Attention(nn.Module):
        def __init__(self, first):
            super().__init__()
            self.attn = nn.MultiheadAttention(4, 2, batch_first=first)

        def forward(self, x):
            return self.attn(x, x, 2 * x, need_weights=False)[0]

    x = torch.randn(2, 3, 4, generator=torch.Generator().manual_seed(0))
    for first in (True, False):
        found = sums(Attention(first), [x])
        assert found["attn.q_proj"] is found["attn.k_proj"]
        assert found["attn.v_proj"] is not found["attn.k_proj"]
        rows = x.reshape(-1, 4).double().numpy()
        np.testing.assert_allclose(found["attn.q_proj"].matrix(), rows.T @ rows, rtol=1e-12)
        np.testing.assert_allclose(found["attn.v_proj"].matrix(), 4 * rows.T @ rows, rtol=1e-12)

"""Small parts under refit of many patterns, each with evidence and its optimum."""

from functools import cache

import numpy as np

from maskgap.instances.layer import Layer
from tests.helpers.exact import losses
from tests.helpers.legal_masks import legal_pruned
from tests.helpers.refit_proofs import refit_part, refit_shared, refit_tree
from tests.helpers.tiny import random_layer

SETS = {
    "50%": (1, 8), "2:4": (1, 8), "1:4": (1, 8), "keep=3": (1, 7), "keep=0": (1, 5),
    "keep=5": (1, 5), "50%;block=2": (1, 8), "50%;cap=3/4": (1, 8), "50%;cost=60%": (1, 8),
    "50%;forced": (1, 8), "keep=4;cap=1/2": (1, 8), "2:4^T": (4, 4), "layer:50%": (2, 5),
    "layer:30%": (3, 4),
}  # fmt: skip


@cache
def layer_of(pattern, seed):
    rows, n = SETS[pattern]
    plain, rng = random_layer(seed, n, rows=rows), np.random.default_rng([7, seed])
    forced = np.zeros((rows, n), dtype=int)
    forced[:, 1], forced[:, 4 % n] = -1, 1
    cost = rng.integers(1, 5, n)
    return Layer.from_arrays(plain.weight, plain.gram, column_cost=cost, forced=forced)


@cache
def case(pattern, seed=0, ridge=0.01):
    """(part, evidence, optimum as a Fraction)."""
    layer = layer_of(pattern, seed)
    part, rng = refit_part(layer, pattern, ridge), np.random.default_rng([8, seed])
    evidence = refit_shared(part, rng) if "layer" in pattern else refit_tree(part, rng)
    return part, evidence, least(part)


def least(part):
    return min(losses(part, legal_pruned(part.layer, part.pattern, part.rows)))

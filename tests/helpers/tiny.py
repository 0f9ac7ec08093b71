"""Small instances whose optima are known by hand, and brute force written apart from the code."""

from itertools import combinations, product

import numpy as np

from maskgap.instances.layer import Layer
from maskgap.instances.masks.patterns import parse_pattern
from maskgap.instances.problem import Part, Problem

# I1: optimum keeps {2, 3} at loss 20 (then 49, 69). I2: keeps {0, 1} at loss 34 (then 40).
I1_WEIGHT = np.array([[1.0, 2.0, 3.0, 4.0]])
I1_GRAM = np.array([[4.0, 1, 0, -2], [1, 3, 1, 0], [0, 1, 5, 1], [-2, 0, 1, 6]])
_A = np.array([[2.0, 1, 0, -1], [-1, -2, -2, -2], [-2, 2, 1, 2], [0, 1, 2, 1]])
I2_WEIGHT = np.array([[-2.0, 2, 2, -3]])
I2_GRAM = _A @ _A.T


def row_problem(weight, gram, pattern, row=0) -> Part:
    """One row of a layer made from arrays."""
    return Problem.of(Layer.from_arrays(weight, gram), parse_pattern(pattern)).part_of(row)


def random_layer(seed, n, rows=1, tokens=None) -> Layer:
    """A correlated random layer."""
    rng = np.random.default_rng(seed)
    mixing = rng.normal(size=(n, n)) / np.sqrt(n) + np.eye(n)
    inputs = mixing @ rng.normal(size=(n, tokens or 4 * n))
    return layer_of_inputs(rng.normal(size=(rows, n)), inputs)


def layer_of_inputs(weight, inputs) -> Layer:
    """The layer with inputs X (d_in, tokens), their mean included."""
    tokens = {"tokens": str(inputs.shape[1])}
    return Layer.from_arrays(
        weight, inputs @ inputs.T, None, tokens, input_mean=inputs.mean(axis=1)
    )


def with_mean(weight, gram) -> Layer:
    """A layer with the Gram as it is and the mean of n inputs that have it (its square root)."""
    values, vectors = np.linalg.eigh(gram)
    root = (vectors * np.sqrt(np.maximum(values, 0.0))) @ vectors.T
    tokens = {"tokens": str(len(root))}
    return Layer.from_arrays(weight, gram, None, tokens, input_mean=root.mean(axis=1))


def legal_pruned_sets(n, size, pruned):
    """Every legal pruned set as a tuple of columns, by itertools."""
    groups = [range(g, g + size) for g in range(0, n, size)]
    for choice in product(*(list(combinations(group, pruned)) for group in groups)):
        yield tuple(j for part in choice for j in part)


def brute_force(weight, gram, size, pruned):
    """(least loss, its pruned set) of a row by plain loops over all legal sets."""
    best = (np.inf, ())
    for columns in legal_pruned_sets(len(weight), size, pruned):
        rest = np.zeros(len(weight))
        rest[list(columns)] = np.asarray(weight)[list(columns)]
        best = min(best, (float(rest @ gram @ rest), columns))
    return best

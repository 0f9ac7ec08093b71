"""Layers on which floating point goes wrong: an array of weights and a Gram, by family.

Each family is a function of a random generator, a number of rows and one of columns, and returns
(W, G) or (W, X), told apart by its name in `GRAMS` or `INPUTS`; a layer of inputs has G = X X^T.
Some of them are refused at the door, as they should be.
"""

import numpy as np


def _weights(rng, rows, n):
    return rng.normal(size=(rows, n))


def _spread(rng, shape, decades=12.0):
    return 10.0 ** rng.uniform(-decades, decades, shape)


def _plain(rng, rows, n):
    return _weights(rng, rows, n), rng.normal(size=(n, int(rng.integers(1, 4 * n + 1))))


def _few_tokens(rng, rows, n):
    return _weights(rng, rows, n), rng.normal(size=(n, int(rng.integers(1, 4))))


def _whole_numbers(rng, rows, n):
    most = 10 ** int(rng.integers(0, 5))
    tokens = int(rng.integers(1, 2 * n + 1))
    return rng.integers(-most, most + 1, (rows, n)) + 0.0, rng.integers(
        -most, most + 1, (n, tokens)
    )


def _repeated(rng, rows, n):
    """Equal columns: ties everywhere."""
    inputs = rng.normal(size=(n, 6))[rng.integers(0, (n + 1) // 2, n)]
    weight = _weights(rng, rows, n)
    return np.sign(weight) if rng.random() < 0.5 else weight, inputs


def _nearly_repeated(rng, rows, n):
    weight, inputs = _repeated(rng, rows, n)
    return weight, inputs + 10.0 ** rng.integers(-16, -3) * rng.normal(size=inputs.shape)


def _cancelling(rng, rows, n):
    """Neighbours whose sum is all but zero, so that losses are left after cancellation."""
    inputs = rng.integers(-(10**6), 10**6, (n, 4)) + 0.0
    size = 10.0 ** rng.integers(-9, 1)
    for j in range(1, n, 2):
        inputs[j] = -inputs[j - 1] + size * rng.integers(-1, 2, 4)
    return np.ones((rows, n)), inputs


def _dead_inputs(rng, rows, n):
    inputs = rng.normal(size=(n, 9))
    inputs[rng.random(n) < rng.choice([0.3, 0.7, 1.0])] = 0.0
    return _weights(rng, rows, n), inputs


def _zero_weights(rng, rows, n):
    weight, inputs = _plain(rng, rows, n)
    weight[rng.random((rows, n)) < rng.choice([0.3, 0.7, 1.0])] = 0.0
    return weight, inputs


def _spread_weights(rng, rows, n):
    weight, inputs = _plain(rng, rows, n)
    return weight * _spread(rng, (rows, n)), inputs


def _spread_inputs(rng, rows, n):
    weight, inputs = _plain(rng, rows, n)
    return weight, inputs * _spread(rng, (n, 1))


def _balanced(rng, rows, n):
    """Wild weights and inputs whose products are tame."""
    weight, inputs = _plain(rng, rows, n)
    scale = _spread(rng, n)
    return weight / scale, inputs * scale[:, None]


def _one_large(rng, rows, n):
    weight, inputs = _plain(rng, rows, n)
    inputs[rng.integers(n)] *= 10.0 ** rng.uniform(3, 20)
    return weight, inputs


def _far_scales(rng, rows, n):
    weight, inputs = _plain(rng, rows, n)
    return weight * 10.0 ** rng.uniform(-95, 95), inputs * 10.0 ** rng.uniform(-45, 45)


def _subnormal(rng, rows, n):
    weight, inputs = _plain(rng, rows, n)
    weight = weight * 10.0 ** rng.uniform(-100, 60, (rows, n))
    return weight, inputs * 10.0 ** rng.uniform(-60, 40, (n, 1))


def _single_precision(rng, rows, n):
    weight, inputs = _plain(rng, rows, n)
    return weight.astype(np.float32), inputs.astype(np.float32)


def _skewed(rng, rows, n):
    """A Gram summed in another order below its diagonal."""
    weight, inputs = _single_precision(rng, rows, n)
    gram = inputs @ inputs.T
    return weight, gram * (1 + rng.uniform(-1e-6, 1e-6, gram.shape).astype(np.float32))


def _simplex(rng, rows, n):
    """(1 + a) I - a e e^T, singular along e, for rows that are e up to signs and a little noise."""
    a = 1.0 / max(1, n - 1)
    gram = np.eye(n) * (1 + a + rng.choice([0.0, 1e-9, 1e-3])) - a
    noise = rng.choice([0.0, 1e-8, 1e-2]) * rng.normal(size=(rows, n))
    return np.where(rng.random((rows, n)) < 0.8, 1.0, -1.0) * (1 + noise), gram


def _unit_columns(rng, rows, n):
    inputs = rng.normal(size=(n, 30))
    return np.sign(_weights(rng, rows, n)), inputs / np.linalg.norm(inputs, axis=1, keepdims=True)


def _diagonal(rng, rows, n):
    return _weights(rng, rows, n), np.diag(_spread(rng, n, 6.0))


def _indefinite(rng, rows, n):
    """Indefinite within what the door takes for rounding."""
    weight, inputs = _plain(rng, rows, n)
    gram, noise = inputs @ inputs.T, rng.normal(size=(n, n))
    return weight, gram + (noise + noise.T) * np.trace(gram) * 10.0 ** rng.uniform(-9, -6.2)


def _powers_of_two(rng, rows, n):
    signs = rng.choice([-1.0, 1.0], (rows, n))
    return signs * 2.0 ** rng.integers(-30, 30, (rows, n)), 2.0 ** rng.integers(-9, 9, (n, n))


INPUTS = {
    "plain": _plain,
    "few tokens": _few_tokens,
    "whole numbers": _whole_numbers,
    "repeated": _repeated,
    "nearly repeated": _nearly_repeated,
    "cancelling": _cancelling,
    "dead inputs": _dead_inputs,
    "zero weights": _zero_weights,
    "spread weights": _spread_weights,
    "spread inputs": _spread_inputs,
    "balanced": _balanced,
    "one large": _one_large,
    "far scales": _far_scales,
    "subnormal": _subnormal,
    "single precision": _single_precision,
    "unit columns": _unit_columns,
    "powers of two": _powers_of_two,
}
GRAMS = {
    "skewed": _skewed,
    "simplex": _simplex,
    "diagonal": _diagonal,
    "indefinite": _indefinite,
}
FAMILIES = (*INPUTS, *GRAMS)


def arrays(family, rng, rows, n):
    """(W (rows, n), G (n, n)) of a family."""
    if family in GRAMS:
        return GRAMS[family](rng, rows, n)
    weight, inputs = INPUTS[family](rng, rows, n)
    return weight, inputs @ inputs.T

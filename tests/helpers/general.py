"""Seeded problems of every pattern beyond equal groups of one row, each with its least loss."""

from functools import cache

import numpy as np

from maskgap.benchmarks.verify.certificate import certify_part
from maskgap.instances.errors import InputError
from maskgap.instances.formats.files import read_layer
from maskgap.instances.layer import Layer
from maskgap.instances.masks.patterns import parse_pattern
from maskgap.instances.problem import Part, Problem
from maskgap.instances.sources import shipped
from maskgap.solvers.protocol import Deadline, Limits, solve_part
from maskgap.solvers.tree.exhaustive import Exhaustive
from tests.helpers.tiny import random_layer

SHAPES = {  # rows and columns of a part of at most 16 binaries
    "layer:50%": (2, 6),
    "2:4^T": (4, 4),
    "1:2^T": (2, 6),
    "2:3^T": (3, 3),
    "50%;block=2": (1, 12),
    "50%;cap=3/4": (1, 12),
    "50%;cap=2/3+2": (1, 8),
    "50%;cost=45%": (1, 11),
    "50%;block=2;cost=45%": (1, 16),
    "50%;forced": (1, 10),
    "50%;cap=3/4;cost=48%;forced": (1, 8),
}

SETS = {pattern: shape for pattern, shape in SHAPES.items() if pattern != "layer:50%"}
"""Those that the compiled search does not take."""


def layer_with_extras(seed, rows, n) -> Layer:
    """A correlated random layer with costs 1 to 8, and one column in eight forced."""
    plain = random_layer(seed, n, rows)
    rng = np.random.default_rng([11, seed])
    forced = np.where(rng.random((rows, n)) < 0.12, rng.choice([-1, 1]), 0)
    cost = rng.integers(1, 9, n)
    return Layer.from_arrays(plain.weight, plain.gram, column_cost=cost, forced=forced)


def part_of(seed, pattern) -> Part:
    """The first part of a random layer of the pattern's shape."""
    return next(iter(Problem.of(layer_with_extras(seed, *SHAPES[pattern]), parse_pattern(pattern))))


@cache
def problems(pattern) -> tuple[tuple[Part, float], ...]:
    """Twenty parts with the least scaled loss of each; seeds whose extras leave no mask are out."""
    found: list[tuple[Part, float]] = []
    seed = 0
    while len(found) < 20:
        seed += 1
        try:
            part = part_of(seed, pattern)
        except InputError:
            continue
        answer = Exhaustive().solve(part, Limits(Deadline(60.0)), 0)
        found.append((part, part.scaled_loss(answer.mask)))
    return tuple(found)


def judged(solver, part, seconds=60.0, gap=1e-6):
    """The answer of a solver, in the layer's units, and its certificate."""
    answer = solve_part(solver, part, Limits(Deadline(seconds), gap=gap), 0)
    certificate = certify_part(
        part,
        answer.mask,
        answer.claimed_objective,
        answer.claimed_bound,
        answer.proof,
        tolerance=gap,
    )
    return answer, certificate


def real_block(name, rows, n, seed=0) -> Layer:
    """The first rows and columns of a shipped layer, rows repeated with other scales, and costs."""
    layer = read_layer(shipped.path(name))
    rng = np.random.default_rng([12, seed])
    chosen = np.arange(rows) % layer.d_out
    weight = layer.weight[chosen, :n] * rng.uniform(0.5, 1.5, (rows, 1))
    cost = rng.integers(1, 9, n)
    return Layer.from_arrays(weight, layer.gram[:n, :n], column_cost=cost)

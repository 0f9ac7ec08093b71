"""Baselines of a layer's rows: their answers, inputs with a mean, a deadline that counts looks."""

import numpy as np

from maskgap.instances.masks.patterns import parse_pattern
from maskgap.instances.problem import Problem
from maskgap.solvers import registry
from maskgap.solvers.protocol import Deadline, Limits


class Looks(Deadline):
    """A deadline that is over after a number of looks at it."""

    def __init__(self, looks):
        super().__init__(60.0)
        self.looks = looks

    def expired(self):
        self.looks -= 1
        return self.looks < 0


def solve(name, layer, pattern, rows=None, limits=None, start=None, **settings):
    """(masks, answers) of the rows of a layer; every mask meets its budgets."""
    problem = Problem.of(layer, parse_pattern(pattern), rows, start)
    limits = limits or Limits(Deadline(60.0))
    answers = registry.build(name, settings).solve_rows(problem, limits, 0)
    masks = np.array([answer.mask for answer in answers])
    assert problem.groups.is_legal(masks)
    return masks, answers


def inputs_of(seed, n=12, tokens=40, offset=0.3):
    """(n, tokens) correlated inputs with a mean."""
    rng = np.random.default_rng(seed)
    mixing = rng.normal(size=(n, n)) / np.sqrt(n) + np.eye(n)
    return mixing @ rng.normal(size=(n, tokens)) + offset * rng.normal(size=(n, 1))


def damped(layer, damping=0.01):
    """The Gram with a share of its mean diagonal added."""
    return layer.gram + damping * layer.gram.diagonal().mean() * np.eye(layer.d_in)

"""Points for other budgets of a row: the curve of its bounds holds up to the last columns."""

from dataclasses import replace

import numpy as np
import pytest

from maskgap.benchmarks.verify.shared_budget import row_bounds
from maskgap.instances.formats.evidence.shared_budget import RowProof
from maskgap.instances.layer import Layer
from maskgap.instances.masks.patterns import parse_pattern
from maskgap.instances.masks.row_patterns import RowKeep
from maskgap.instances.problem import Problem
from maskgap.solvers.bounds import other_budgets
from maskgap.solvers.protocol import Deadline, Limits
from maskgap.solvers.registry import build
from tests.helpers.tiny import random_layer


def _curve(layer):
    """(n + 1,) the bounds of row 0 by the semidefinite relaxation of half its columns."""
    n = layer.d_in
    problem = Problem(layer, RowKeep(f"keep={n // 2}", n // 2), range(1))
    answer = build("sdp-bound", {"beside": True}).solve(
        problem.part_of(0), Limits(Deadline(60.0)), 0
    )
    (whole,) = Problem.of(layer, parse_pattern("layer:50%"))
    return row_bounds(whole, RowProof(n - n // 2, replace(answer.proof, bound=0.0)))


@pytest.fixture
def outliers():
    """160 columns, three of which have nearly all the energy."""
    plain = random_layer(2, 160, rows=1, tokens=600)
    scale = np.ones(160)
    scale[[5, 50, 120]] = 60.0
    return Layer.from_arrays(plain.weight, scale[:, None] * plain.gram * scale)


def test_bounds_do_not_fall_where_the_last_columns_have_the_energy(outliers):
    curve = _curve(outliers)
    assert (np.diff(curve[80:]) > 0.0).all()


def test_without_points_at_the_end_they_would(outliers, monkeypatch):
    monkeypatch.setattr(other_budgets, "FROM_ALL", ())
    monkeypatch.setattr(other_budgets, "OFFSETS", (1, 2, 4, 8, 16))
    assert _curve(outliers)[80:].min() == 0.0

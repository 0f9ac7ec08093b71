"""Published sparse logistic regression, solved over its switches: the values that are reported."""

import numpy as np
import pytest

import maskgap
from maskgap.instances.errors import InputError
from maskgap.instances.sources.published.make import instance
from maskgap.instances.sources.published.reported import reported

ROWS = [
    row
    for row in reported()
    if row.family == "sparse_log_reg"
    and row.solver == "Boscia"
    and row.size.startswith("dimension=5;")
]


@pytest.mark.parametrize("row", [row for row in ROWS if row.seed in (1, 2)], ids=str)
def test_reported_values_are_met(row):
    made = instance(row.family, row.seed, row.size)
    assert (made.seed, made.size) == (row.seed, row.size)
    loss, space = made.program.objective, made.program.space
    m, p = loss.A.shape
    f = maskgap.objectives.logistic(  # m times as much
        np.hstack([loss.A, np.zeros((m, p))]),
        loss.labels,
        ridge=np.concatenate([np.full(p, m * loss.ridge), np.zeros(p)]),
    )
    rows = maskgap.oracles.milp(
        space.matrix,
        space.row_lower,
        space.row_upper,
        space.lower,
        space.upper,
        np.repeat([0, 1], p),
    )
    result = maskgap.minimise(f, rows)
    assert result.stop == "gap"
    assert made.worth(result.x) == pytest.approx(result.objective / m, rel=1e-12)
    assert made.worth(result.x) <= row.objective * (1 + 1e-6)
    assert result.bound / m <= row.objective * (1 + 1e-9)
    assert made.worth(result.x) == pytest.approx(row.objective, rel=row.tolerance)


def test_gradient_and_names():
    made = instance("sparse_log_reg", 3, "dimension=5;var_A=5;M=0.1")
    x, step = np.random.default_rng(0).uniform(-0.1, 0.1, 50), 1e-6
    gradient = made.program.objective(x)[1]
    for j, move in enumerate(step * np.eye(50)):
        slope = (made.worth(x + move) - made.worth(x - move)) / (2 * step)
        assert gradient[j] == pytest.approx(slope, abs=1e-6)
    for size in ("dimension=5", "dimension=65;var_A=1;M=0.1"):
        with pytest.raises(InputError, match="size"):
            instance("sparse_log_reg", 1, size)

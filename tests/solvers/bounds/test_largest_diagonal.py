"""The best diagonal of a definite matrix: against a semidefinite programme, and its proof."""

from fractions import Fraction

import cvxpy
import numpy as np
import pytest

from maskgap.instances.errors import Refused
from maskgap.solvers.bounds.perspective.diagonals import inverse_diagonal
from maskgap.solvers.bounds.perspective.largest import largest_diagonal, shown_diagonal


def _matrix(seed, n=6):
    random = np.random.default_rng(seed)
    root = random.standard_normal((n, n + 2)) * 10.0 ** random.integers(-1, 2, (n, 1))
    return root @ root.T


def _semidefinite(matrix, diagonal):
    """Whether matrix - Diag(diagonal) is positive semidefinite, by elimination in fractions."""
    rows = [[Fraction(float(v)) for v in row] for row in matrix]
    for j, own in enumerate(diagonal.tolist()):
        rows[j][j] -= Fraction(own)
    while rows:
        pivot, *others = rows
        if pivot[0] < 0 or (pivot[0] == 0 and any(v != 0 for v in pivot)):
            return False
        rows = [
            [row[k] - (row[0] * pivot[k] / pivot[0] if pivot[0] else 0) for k in range(1, len(row))]
            for row in others
        ]
    return True


@pytest.mark.parametrize("seed", range(4))
def test_its_sum_is_that_of_a_semidefinite_programme(seed):
    matrix = _matrix(seed)
    wanted = cvxpy.Variable(len(matrix))
    problem = cvxpy.Problem(
        cvxpy.Maximize(cvxpy.sum(wanted)), [matrix - cvxpy.diag(wanted) >> 0, wanted >= 0]
    )
    best = problem.solve(solver=cvxpy.CLARABEL)
    found = largest_diagonal(matrix)
    assert (1 - 2e-4) * best <= found.sum() <= (1 + 1e-6) * best
    assert found.sum() >= inverse_diagonal(matrix).sum()


@pytest.mark.parametrize("seed", range(6))
@pytest.mark.parametrize("factor", [0.0, 0.9, 1.0, 1.0 + 1e-9, 1.01])
def test_what_is_shown_holds_in_fractions(seed, factor):
    matrix = np.ldexp(_matrix(seed), 40 * (seed - 3))
    shown = shown_diagonal(matrix, factor * largest_diagonal(matrix))
    if factor == 0.0:
        assert shown is None  # no part is left above 0
    elif shown is not None:
        assert _semidefinite(matrix, shown)
    assert shown is not None or factor in (0.0, 1.01)


def test_a_singular_matrix_spares_what_is_added_to_it():
    root = np.random.default_rng(3).standard_normal((8, 3))
    matrix = root @ root.T + 0.5 * np.eye(8)
    shown = shown_diagonal(matrix, np.full(8, 0.5))
    assert shown is not None
    assert (shown < 0.5).all()
    assert shown == pytest.approx(0.5, rel=1e-12)
    assert _semidefinite(matrix, shown)
    with pytest.raises(Refused, match="not positive definite"):
        largest_diagonal(root @ root.T)

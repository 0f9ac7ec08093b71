"""How far a positive definite matrix may move: against all eigenvalues."""

import numpy as np
import pytest

from maskgap.solvers.bounds import step_length
from maskgap.solvers.bounds.step_length import STEP_TO_BOUNDARY, to_boundary


def matrices(order: int, seed: int, negative: int) -> tuple[np.ndarray, np.ndarray]:
    """A Cholesky factor, and a direction with so many negative eigenvalues."""
    draw = np.random.default_rng(seed)
    root = draw.standard_normal((order, order)) * draw.uniform(0.01, 1.0, order)
    matrix = root @ root.T + 1e-3 * np.eye(order)
    turn, _ = np.linalg.qr(draw.standard_normal((order, order)))
    values = draw.uniform(0.1, 1.0, order)
    values[:negative] *= -1.0
    return np.linalg.cholesky(matrix), turn @ np.diag(values) @ turn.T


def exact(lower: np.ndarray, direction: np.ndarray) -> float:
    inverse = np.linalg.inv(lower)
    return float(np.linalg.eigvalsh(inverse @ direction @ inverse.T)[0])


@pytest.mark.parametrize("order", [3, 40, 151, 260])
@pytest.mark.parametrize("negative", [1, 2, 0.5])
def test_the_step_ends_shortly_before_the_boundary(order: int, negative: float) -> None:
    count = int(negative * order) if negative < 1 else int(negative)
    lower, direction = matrices(order, order, count)
    direction = direction * (-4.0 / exact(lower, direction))
    step = to_boundary(lower, direction)
    assert 0.6 * STEP_TO_BOUNDARY / 4.0 <= step <= 1.0 / 4.0
    np.linalg.cholesky(lower @ lower.T + step * direction)


@pytest.mark.parametrize("order", [40, 260])
def test_a_positive_definite_direction_takes_the_whole_step(order: int) -> None:
    lower, direction = matrices(order, 1, 0)
    assert to_boundary(lower, direction) == 1.0


def test_the_share_is_that_of_the_way() -> None:
    lower, direction = matrices(40, 2, 3)
    assert to_boundary(lower, direction, 0.4) == pytest.approx(
        0.4 / STEP_TO_BOUNDARY * to_boundary(lower, direction)
    )


def test_lanczos_ends_where_its_space_does() -> None:
    order = step_length.EXACT_ORDER + 1
    assert to_boundary(np.eye(order), -4.0 * np.eye(order)) == pytest.approx(STEP_TO_BOUNDARY / 4)

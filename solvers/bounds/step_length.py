"""How far a positive definite matrix may move before it is singular.

    L L^T + t D is positive definite as long as t < -1 / lambda,   lambda = lambda_min(L^-1 D L^-T).

Small matrices have all of it computed. For larger ones lambda is what Lanczos finds (with full
orthogonalisation, twice), less the residual of its eigenvector: some eigenvalue is that near to
the value found, and where it is not the least one the step is a little too long, as Toh observes
(Computational Optimization and Applications 21, 2002). So whoever takes a step tries whether it
ended at a positive definite matrix, and shortens it until it does.
"""

import numpy as np
import scipy.linalg

from maskgap.instances.arrays import Matrix

STEP_TO_BOUNDARY = 0.95

EXACT_ORDER = 150
"""Order up to which all eigenvalues take no longer than Lanczos."""

LANCZOS_STEPS = 40
LOOK_EVERY = 4
NEAR = 0.05
"""Residual, as a share of the eigenvalue, at which Lanczos ends."""


def to_boundary(lower: Matrix, direction: Matrix, share: float = STEP_TO_BOUNDARY) -> float:
    """How far L L^T + t direction stays positive definite, times a share; at most 1.

    lower: L; direction: symmetric, both (order, order).
    """
    least = _exact(lower, direction) if len(lower) <= EXACT_ORDER else _lanczos(lower, direction)
    return 1.0 if least > -share else -share / least


def _exact(lower: Matrix, direction: Matrix) -> float:
    half = scipy.linalg.solve_triangular(lower, direction, lower=True, check_finite=False)
    scaled = scipy.linalg.solve_triangular(lower, half.T, lower=True, check_finite=False)
    return float(scipy.linalg.eigvalsh(scaled, subset_by_index=[0, 0], check_finite=False)[0])


def _lanczos(lower: Matrix, direction: Matrix) -> float:
    """The least eigenvalue as Lanczos has it, less its residual."""
    solve = scipy.linalg.blas.dtrsv
    columns = lower.T  # the order of memory that BLAS takes without a copy: L^T as an upper matrix
    order = len(lower)
    steps = min(LANCZOS_STEPS, order)
    basis = np.empty((steps + 1, order))
    start = np.random.default_rng(order).standard_normal(order)
    basis[0] = start / np.linalg.norm(start)
    diagonal, beside = np.zeros(steps), np.zeros(steps)
    found = 0.0
    for step in range(steps):
        image = solve(columns, direction @ solve(columns, basis[step]), trans=1)
        diagonal[step] = image @ basis[step]
        for _ in range(2):
            image -= (basis[: step + 1] @ image) @ basis[: step + 1]
        beside[step] = np.linalg.norm(image)
        last = step + 1 == steps or beside[step] <= 1e-12 * np.abs(diagonal[: step + 1]).max()
        if last or step % LOOK_EVERY == LOOK_EVERY - 1:
            values, vectors = scipy.linalg.eigh_tridiagonal(
                diagonal[: step + 1], beside[:step], select="i", select_range=(0, 0)
            )
            residual = float(abs(beside[step] * vectors[-1, 0]))
            found = float(values[0]) - residual
            if last or residual <= NEAR * max(abs(found), STEP_TO_BOUNDARY):
                break
        basis[step + 1] = image / beside[step]
    return found

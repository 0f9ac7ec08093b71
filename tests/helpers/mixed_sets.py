"""Small mixed-integer problems and their optima by brute force."""

import itertools

import numpy as np


def continuous_optimum(P, q, rows, sides):
    """Of x^T P x + q.x over rows x <= sides by every set of active rows; inf: empty."""
    n, best = len(q), np.inf
    for size in range(n + 1):
        for active in itertools.combinations(range(len(rows)), size):
            N = rows[list(active)]
            system = np.block([[2 * P, N.T], [N, np.zeros((size, size))]])
            if np.linalg.matrix_rank(N) < size:
                continue
            x = np.linalg.solve(system, np.concatenate([-q, sides[list(active)]]))[:n]
            if (rows @ x <= sides + 1e-9).all():
                best = min(best, float(x @ P @ x + q @ x))
    return best


def quadratic_optimum(P, q, linear):
    """Of x^T P x + q.x over a `LinearSet` with finite bounds, by every choice of whole values."""
    space, A = linear.space, linear.matrix.toarray()
    whole, rest = np.flatnonzero(space.integral), np.flatnonzero(~space.integral)
    up, down = np.isfinite(linear.row_upper), np.isfinite(linear.row_lower)
    rows = np.vstack([A[up], -A[down], np.eye(space.n), -np.eye(space.n)])
    sides = np.concatenate(
        [linear.row_upper[up], -linear.row_lower[down], space.upper, -space.lower]
    )
    best = np.inf
    for values in itertools.product(
        *(range(int(space.lower[j]), int(space.upper[j]) + 1) for j in whole)
    ):
        v = np.array(values, dtype=float)
        left, kept = sides - rows[:, whole] @ v, rows[:, rest]
        if (left[~kept.any(axis=1)] < -1e-9).any():
            continue
        fixed = float(v @ P[np.ix_(whole, whole)] @ v + q[whole] @ v)
        if len(rest):
            some = kept.any(axis=1)
            linear_part = q[rest] + 2 * P[np.ix_(rest, whole)] @ v
            fixed += continuous_optimum(P[np.ix_(rest, rest)], linear_part, kept[some], left[some])
        best = min(best, fixed)
    return best

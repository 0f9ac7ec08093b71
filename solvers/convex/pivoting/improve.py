"""Local search from a point: whole variables move by one, to keep rows, then to lower the value.

One variable moves or two, as long as the value falls.

With g = 2 P x + q, moving x_i by a and x_j by b (each 1 or -1) changes f by

    a g_i + P_ii + b g_j + P_jj + 2 a b P_ij.
"""

import numpy as np

from maskgap.solvers.kernels.jit import unchecked

MOST_MOVES = 10000
"""Of a repair."""


@unchecked
def improve(P, linear, A, lower, upper, whole, x, most):  # type: ignore[no-untyped-def]
    """Move x, which keeps bounds and rows (lower, upper: (n + m,)), in place; the moves made.

    most: moves at most.
    """
    n, m = len(x), len(A)
    gradient = 2.0 * np.dot(P, x) + linear
    activity = np.dot(A, x)
    for made in range(most):
        best, at, other, first, second = -1e-9 * (1.0 + np.abs(gradient).max()), -1, -1, 0.0, 0.0
        for i in range(n):
            if not whole[i]:
                continue
            for a in (-1.0, 1.0):
                if x[i] + a < lower[i] or x[i] + a > upper[i]:
                    continue
                alone = a * gradient[i] + P[i, i]
                if alone < best and _kept(A, activity, lower, upper, n, i, a, -1, 0.0):
                    best, at, other, first, second = alone, i, -1, a, 0.0
                for j in range(i + 1, n):
                    if not whole[j]:
                        continue
                    for b in (-1.0, 1.0):
                        change = alone + b * gradient[j] + P[j, j] + 2.0 * a * b * P[i, j]
                        if change >= best or x[j] + b < lower[j] or x[j] + b > upper[j]:
                            continue
                        if _kept(A, activity, lower, upper, n, i, a, j, b):
                            best, at, other, first, second = change, i, j, a, b
        if at < 0:
            return made
        x[at] += first
        for k in range(n):
            gradient[k] += 2.0 * first * P[k, at]
        if other >= 0:
            x[other] += second
            for k in range(n):
                gradient[k] += 2.0 * second * P[k, other]
        for i in range(m):
            activity[i] = np.dot(A[i], x)
    return most


@unchecked
def repair(P, linear, A, lower, upper, whole, x):  # type: ignore[no-untyped-def]
    """Move whole variables by one until x keeps its rows, in place; whether it does in the end.

    A move is one that takes most off what rows are missed by, and of these the cheapest.
    """
    n, m = len(x), len(A)
    for _ in range(MOST_MOVES):
        gradient, activity = 2.0 * np.dot(P, x) + linear, np.dot(A, x)
        now = 0.0
        for r in range(m):
            now += _missed(activity[r], lower[n + r], upper[n + r])
        if now == 0.0:
            return True
        best, cheapest, at, way = now * (1.0 - 1e-9), np.inf, -1, 0.0
        for j in range(n):
            for a in (-1.0, 1.0):
                if not whole[j] or x[j] + a < lower[j] or x[j] + a > upper[j]:
                    continue
                then = 0.0
                for r in range(m):
                    then += _missed(activity[r] + a * A[r, j], lower[n + r], upper[n + r])
                cost = a * gradient[j] + P[j, j]
                same = abs(then - best) <= 1e-9 * now
                if (then < best and not same) or (same and at >= 0 and cost < cheapest):
                    best, cheapest, at, way = then, cost, j, a
        if at < 0:
            return False
        x[at] += way
    return False


@unchecked
def _missed(activity, low, high):  # type: ignore[no-untyped-def]
    missed = max(low - activity, activity - high)
    return missed if missed > 1e-9 * max(1.0, abs(activity)) else 0.0


@unchecked
def _kept(A, activity, lower, upper, n, i, a, j, b):  # type: ignore[no-untyped-def]
    for r in range(len(A)):
        new = activity[r] + a * A[r, i]
        if j >= 0:
            new += b * A[r, j]
        slack = 1e-9 * max(1.0, abs(new))
        if new < lower[n + r] - slack or new > upper[n + r] + slack:
            return False
    return True

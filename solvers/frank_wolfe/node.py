"""Compiled kernels of one node of the branch and bound.

Node problem. With F(x) = x^T P x + q^T x convex and equal to the loss on legal masks (see
`solvers.bounds.convexify`), minimise F over the hull of the legal masks that respect the node's
forced columns, a product of hypersimplices. Its edges are the directions e_i - e_j within a group,
so a step of the decomposition-invariant pairwise Frank-Wolfe method (Garber, Meshi, NeurIPS 2016)
on this set moves weight from one column to another: i has the least gradient among columns below 1,
j of the same group is the one above 0 that pays most, and the step length is exact,

    gamma = min( (g_j - g_i) / (2 (P_ii + P_jj - 2 P_ij)), 1 - x_i, x_j ),   g = 2 P x + q.

Bound. Any x gives  b = F(x) - g . x + min over the node's masks of g . v;  the minimum is a sort.

A step costs about 4 n operations, a gradient from scratch 2 n^2. A column's state is 0 (free), 1
(pruned) or 2 (kept).
"""

import numba
import numpy as np

CHECK_EVERY = 16
STEPS = 2000
CLOSE_SHARE = 0.1
"""A node is left when its gap is this share of its distance to the incumbent."""

fast = numba.njit(cache=True, nogil=True, fastmath={"contract", "reassoc", "nsz", "arcp"})
strict = numba.njit(cache=True, nogil=True)


@fast
def shift_gradient(matrix, gradient, column, by):  # type: ignore[no-untyped-def]
    """The gradient after x[column] has changed."""
    for t in range(len(gradient)):
        gradient[t] += 2.0 * by * matrix[column, t]


@fast
def gradient_of(matrix, linear, x, gradient):  # type: ignore[no-untyped-def]
    """Gradient g = 2 P x + q from scratch."""
    gradient[:] = linear
    for i in range(len(x)):
        if x[i] != 0.0:
            twice = 2.0 * x[i]
            for t in range(len(x)):
                gradient[t] += twice * matrix[i, t]


@strict
def value_and_bound(linear, size, budget, state, x, gradient, lowest):  # type: ignore[no-untyped-def]
    """(F(x), bound) of a node; `lowest` (n,) receives the sorted free gradients of each group."""
    value = 0.0
    along = 0.0
    for t in range(len(x)):
        value += 0.5 * (gradient[t] + linear[t]) * x[t]
        along += gradient[t] * x[t]
    least = 0.0
    for group in range(0, len(x), size):
        free = 0
        left = budget
        for t in range(group, group + size):
            if state[t] == 0:
                lowest[group + free] = gradient[t]
                free += 1
            elif state[t] == 1:
                left -= 1
                least += gradient[t]
        part = lowest[group : group + free]
        part.sort()
        for t in range(left):
            least += part[t]
    return value, value - along + least


@strict
def minimise(matrix, linear, size, budget, state, x, gradient, cut, lowest):  # type: ignore[no-untyped-def]
    """Pairwise steps until the node can be closed or branched; returns the number of steps."""
    n = len(x)
    steps = 0
    while True:
        value, bound = value_and_bound(linear, size, budget, state, x, gradient, lowest)
        gap = value - bound
        if bound >= cut or steps >= STEPS or gap <= 1e-9 * abs(value):
            return steps
        if value < cut and gap <= CLOSE_SHARE * (cut - value):
            return steps
        for _ in range(CHECK_EVERY):
            i = -1
            widest = 0.0
            for group in range(0, n, size):
                low, high, at = np.inf, -np.inf, -1
                for t in range(group, group + size):
                    if state[t] == 0:
                        if x[t] < 1.0 and gradient[t] < low:
                            low, at = gradient[t], t
                        if x[t] > 0.0 and gradient[t] > high:
                            high = gradient[t]
                if at >= 0 and high - low > widest:
                    widest, i = high - low, at
            if i < 0:
                break
            j, gain, length = -1, 0.0, 0.0
            first = i - i % size
            for t in range(first, first + size):
                if state[t] == 0 and x[t] > 0.0 and gradient[t] > gradient[i]:
                    slope = gradient[t] - gradient[i]
                    curve = 2.0 * (matrix[i, i] + matrix[t, t] - 2.0 * matrix[i, t]) + 1e-12
                    step = min(slope / curve, 1.0 - x[i], x[t])
                    progress = step * (slope - 0.5 * curve * step)
                    if progress > gain:
                        j, gain, length = t, progress, step
            if j < 0:
                break
            full, empty = length >= 1.0 - x[i], length >= x[j]
            x[i] = 1.0 if full else x[i] + length
            x[j] = 0.0 if empty else x[j] - length
            shift_gradient(matrix, gradient, i, length)
            shift_gradient(matrix, gradient, j, -length)
            steps += 1


@strict
def restore(matrix, size, budget, state, x, gradient):  # type: ignore[no-untyped-def]
    """Bring a parent's x onto a child's hull, cheapest columns first; False when it is empty."""
    n = len(x)
    for t in range(n):
        wanted = x[t]
        if state[t] == 1:
            wanted = 1.0
        elif state[t] == 2:
            wanted = 0.0
        if wanted != x[t]:
            shift_gradient(matrix, gradient, t, wanted - x[t])
            x[t] = wanted
    for group in range(0, n, size):
        need = float(budget)
        for t in range(group, group + size):
            need -= x[t]
        while abs(need) > 1e-12:
            at = -1
            for t in range(group, group + size):
                if state[t] == 0:
                    if need > 0.0 and x[t] < 1.0 and (at < 0 or gradient[t] < gradient[at]):
                        at = t
                    if need < 0.0 and x[t] > 0.0 and (at < 0 or gradient[t] > gradient[at]):
                        at = t
            if at < 0:
                return False
            by = min(need, 1.0 - x[at]) if need > 0.0 else max(need, -x[at])
            by_all = by == 1.0 - x[at]
            x[at] = 1.0 if by_all else max(0.0, x[at] + by)
            shift_gradient(matrix, gradient, at, by)
            need -= by
    return True


@strict
def still_open(budget, state, first, last):  # type: ignore[no-untyped-def]
    """(columns still to prune, free columns) of the group of columns first to last - 1."""
    left, free = budget, 0
    for t in range(first, last):
        if state[t] == 1:
            left -= 1
        elif state[t] == 0:
            free += 1
    return left, free


@strict
def is_settled(size, budget, state):  # type: ignore[no-untyped-def]
    """0: several masks left; 1: one; -1: none. Implied columns are written into `state`."""
    settled = 1
    for group in range(0, len(state), size):
        left, free = still_open(budget, state, group, group + size)
        if left < 0 or left > free:
            return -1
        if 0 < left < free:
            settled = 0
        else:
            for t in range(group, group + size):
                if state[t] == 0:
                    state[t] = 1 if left > 0 else 2
    return settled

"""Compiled kernels of one node: gradient, value, oracle, and which masks a node holds.

Node problem. With F(x) = x^T P x + q^T x + c convex and at most the loss on legal masks (see
`solvers.bounds.convexify`), minimise F over the hull of the legal masks that respect the node's
forced columns, a product of hypersimplices.

Bound. Any x gives  b = F(x) - g . x + min over the node's masks of g . v,  g = 2 P x + q;  the
minimum is a sort or a partition.

A gradient from scratch costs 2 n^2, the rest a few n. A column's state is 0 (free), 1 (pruned) or 2
(kept). `fast` functions may reorder sums, and are never given infinities or NaN.
"""

import numpy as np

from solvers.kernels import fast, strict

STEPS = 2000
"""Most steps in a node."""

FLAT = 1e-9
"""A gap this small a share of F(x) is rounding."""


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


@fast
def value_of(linear, constant, x, gradient):  # type: ignore[no-untyped-def]
    """F(x) from its gradient at x."""
    twice = 0.0
    for t in range(len(x)):
        twice += (gradient[t] + linear[t]) * x[t]
    return 0.5 * twice + constant


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
def least_along(size, budget, state, gradient, lowest):  # type: ignore[no-untyped-def]
    """Minimum of g . v over the node's masks; `lowest` gets each group's free gradients sorted."""
    least = 0.0
    for group in range(0, len(gradient), size):
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
    return least


@strict
def vertex_along(size, budget, state, gradient, vertex):  # type: ignore[no-untyped-def]
    """A mask of the node of least g . v in `vertex`, and that value: the closed-form oracle."""
    least = 0.0
    for group in range(0, len(gradient), size):
        left, free = still_open(budget, state, group, group + size)
        keys = np.empty(free)
        at = 0
        for t in range(group, group + size):
            vertex[t] = 1.0 if state[t] == 1 else 0.0
            if state[t] == 0:
                keys[at] = gradient[t]
                at += 1
        last = np.partition(keys, left - 1)[left - 1] if left > 0 else -np.inf
        for t in range(group, group + size):
            if state[t] == 0 and gradient[t] < last:
                vertex[t] = 1.0
                left -= 1
        for t in range(group, group + size):
            if left > 0 and state[t] == 0 and gradient[t] == last:
                vertex[t] = 1.0
                left -= 1
        for t in range(group, group + size):
            least += gradient[t] * vertex[t]
    return least


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

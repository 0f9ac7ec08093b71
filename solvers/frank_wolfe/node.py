"""Compiled kernels of one node: gradient, value, oracle, and which masks a node holds.

Node problem. With F(x) = x^T P x + q^T x + c convex and at most the loss on legal masks (see
`solvers.objectives.convexify`), minimise F over the hull of the legal masks that respect the node's
forced columns, a product of hypersimplices.

Bound. Any x gives  b = F(x) - g . x + min over the node's masks of g . v,  g = 2 P x + q;  the
minimum is a sort or a partition.

A gradient from scratch costs 2 n^2, the rest a few n. `fast` functions may reorder sums, and are
never given infinities or NaN.
"""

from maskgap.instances.masks.state import FREE, KEPT, PRUNED
from maskgap.solvers.kernels.jit import fast, strict

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
def restore(matrix, size, budget, state, x, gradient):  # type: ignore[no-untyped-def]
    """Bring a parent's x onto a child's hull, cheapest columns first; False when it is empty."""
    n = len(x)
    for t in range(n):
        wanted = x[t]
        if state[t] == PRUNED:
            wanted = 1.0
        elif state[t] == KEPT:
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
                if state[t] == FREE:
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

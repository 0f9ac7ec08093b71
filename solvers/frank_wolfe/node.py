"""Compiled kernels of one node: gradient, bound, hull, and the minimisation along edges.

Node problem. With F(x) = x^T P x + q^T x + c convex and at most the loss on legal masks (see
`solvers.bounds.convexify`), minimise F over the hull of the legal masks that respect the node's
forced columns, a product of hypersimplices. Its edges are the directions e_i - e_j within a group,
so a step of the decomposition-invariant pairwise Frank-Wolfe method (Garber, Meshi, NeurIPS 2016)
on this set moves weight from one column to another: i has the least gradient among columns below 1,
j of the same group is the one above 0 that pays most, and the step length is exact,

    gamma = min( (g_j - g_i) / (2 (P_ii + P_jj - 2 P_ij)), 1 - x_i, x_j ),   g = 2 P x + q.

Bound. Any x gives  b = F(x) - g . x + min over the node's masks of g . v;  the minimum is a sort.

With f free columns a step costs a few passes over f numbers (their rows of P are copied together
when first used), a gradient from scratch 2 n^2. A column's state is 0 (free), 1 (pruned) or 2
(kept). `fast` functions may reorder sums, and are never given infinities or NaN.
"""

import numba
import numpy as np

CHECK_EVERY = 8
"""Steps between two looks at the bound."""

STEPS = 2000
"""Most steps in a node."""

FLAT = 1e-9
"""A gap this small a share of F(x) is rounding."""

_LARGE = 1e300

fast = numba.njit(cache=True, nogil=True, fastmath={"contract", "reassoc", "nsz", "arcp", "nnan"})
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


@fast
def _widest_group(groups, starts, x, gradient):  # type: ignore[no-untyped-def]
    """Group whose gradients differ most between a column below 1 and one above 0; -1 when none."""
    widest, at = 0.0, -1
    for group in range(groups):
        low, high = _LARGE, -_LARGE
        for t in range(starts[group], starts[group + 1]):
            below = gradient[t] if x[t] < 1.0 else _LARGE
            above = gradient[t] if x[t] > 0.0 else -_LARGE
            low = below if below < low else low
            high = above if above > high else high
        if low < _LARGE and high > -_LARGE and high - low > widest:
            widest, at = high - low, group
    return at


@fast
def _move(first, last, i, row, diagonal, x, gradient, gains):  # type: ignore[no-untyped-def]
    """(column that pays most for weight moved to i, gain); `gains` is scratch."""
    best = 0.0
    room = 1.0 - x[i]
    for t in range(first, last):
        slope = gradient[t] - gradient[i]
        slope = slope if slope > 0.0 else 0.0
        curve = 2.0 * (diagonal[i] + diagonal[t] - 2.0 * row[t]) + 1e-12
        step = slope / curve
        step = step if step < room else room
        step = step if step < x[t] else x[t]
        gain = step * (slope - 0.5 * curve * step)
        gains[t] = gain
        best = gain if gain > best else best
    if best <= 0.0:
        return -1, 0.0
    for t in range(first, last):
        if gains[t] == best:
            return t, best
    return -1, 0.0


@fast
def _add_rows(gradient, up, down, twice):  # type: ignore[no-untyped-def]
    for t in range(len(gradient)):
        gradient[t] += twice * (up[t] - down[t])


@strict
def _free_gap(groups, starts, lefts, x, gradient):  # type: ignore[no-untyped-def]
    """Frank-Wolfe gap of the free part."""
    gap = 0.0
    for group in range(groups):
        first, last, left = starts[group], starts[group + 1], lefts[group]
        for t in range(first, last):
            gap += gradient[t] * x[t]
        if 0 < left < last - first:
            part = np.partition(gradient[first:last], left - 1)
            for t in range(left):
                gap -= part[t]
        elif left > 0:
            for t in range(first, last):
                gap -= gradient[t]
    return gap


@strict
def _row(matrix, index, free, rows, have, at):  # type: ignore[no-untyped-def]
    """The free part of row `at` of P, copied together once."""
    if not have[at]:
        have[at] = True
        whole = matrix[index[at]]
        for t in range(free):
            rows[at, t] = whole[index[t]]
    return rows[at, :free]


@strict
def minimise_along_edges(  # type: ignore[no-untyped-def]
    matrix, size, budget, state, x, gradient, value, cut, tolerance, most_steps
):
    """Pairwise steps until the node can be closed or branched.

    That is when its gap is at most `tolerance` times its distance to the cut. x is moved in place,
    the gradient is left behind. Returns the numbers of steps and of looks at the bound, each of
    which asks the oracle.
    """
    n = len(x)
    index, starts, lefts = np.empty(n, np.int64), np.empty(n + 1, np.int64), np.empty(n, np.int64)
    free, groups = 0, 0
    for group in range(0, n, size):
        starts[groups], lefts[groups] = free, budget
        for t in range(group, group + size):
            if state[t] == 0:
                index[free] = t
                free += 1
            elif state[t] == 1:
                lefts[groups] -= 1
        groups += 1
    starts[groups] = free
    own, slopes, diagonal = np.empty(free), np.empty(free), np.empty(free)
    gains = np.empty(free)
    for t in range(free):
        own[t], slopes[t] = x[index[t]], gradient[index[t]]
        diagonal[t] = matrix[index[t], index[t]]
    rows, have = np.empty((free, free)), np.zeros(free, np.bool_)
    steps, looks, moving = 0, 0, True
    while moving and steps < most_steps:
        gap = _free_gap(groups, starts, lefts, own, slopes)
        looks += 1
        if value - gap >= cut or gap <= FLAT * abs(value):
            break
        if value < cut and gap <= tolerance * (cut - value):
            break
        for _ in range(CHECK_EVERY):
            group = _widest_group(groups, starts, own, slopes)
            if group < 0:
                moving = False
                break
            first, last = starts[group], starts[group + 1]
            i = -1
            for t in range(first, last):
                if own[t] < 1.0 and (i < 0 or slopes[t] < slopes[i]):
                    i = t
            up = _row(matrix, index, free, rows, have, i)
            j, gain = _move(first, last, i, up, diagonal, own, slopes, gains)
            if j < 0:
                moving = False
                break
            curve = 2.0 * (diagonal[i] + diagonal[j] - 2.0 * up[j]) + 1e-12
            length = min((slopes[j] - slopes[i]) / curve, 1.0 - own[i], own[j])
            full, empty = length >= 1.0 - own[i], length >= own[j]
            own[i] = 1.0 if full else own[i] + length
            own[j] = 0.0 if empty else own[j] - length
            _add_rows(slopes, up, _row(matrix, index, free, rows, have, j), 2.0 * length)
            value -= gain
            steps += 1
    for t in range(free):
        x[index[t]] = own[t]
    return steps, looks


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

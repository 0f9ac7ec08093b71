"""Minimisation of a node along the edges of its hull.

The edges of a product of hypersimplices are the directions e_i - e_j within a group, so a step of
the decomposition-invariant pairwise Frank-Wolfe method (Garber, Meshi, NeurIPS 2016) on this set
moves weight from one column to another: i has the least gradient among columns below 1, j of the
same group is the one above 0 that pays most, and the step length is exact,

    gamma = min( (g_j - g_i) / (2 (P_ii + P_jj - 2 P_ij)), 1 - x_i, x_j ),   g = 2 P x + q.

With f free columns a step costs a few passes over f numbers. All that a step reads of P are two
rows over the free columns, which are copied together when first used.
"""

import numpy as np

from maskgap.instances.masks.state import FREE, PRUNED
from maskgap.solvers.frank_wolfe.node import FLAT
from maskgap.solvers.kernels.jit import fast, strict

CHECK_EVERY = 8
"""Steps between two looks at the bound."""

_LARGE = 1e300


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
            if state[t] == FREE:
                index[free] = t
                free += 1
            elif state[t] == PRUNED:
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

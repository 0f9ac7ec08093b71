"""A depth-first search below one node, compiled; what is left when it has to end is handed back.

A node holds bounds of variables, and the tableau of its quadratic (`pivoting.tableau`). A variable
to split is one that is to be whole and is not, of the largest product of

    (x_j - floor x_j)^2 / (2 T_jj),   (ceil x_j - x_j)^2 / (2 T_jj),

what moving it alone to either side costs while the tight ones stay. With reduced costs d and the
bound b of a node, a better point z of it has

    b + |d_j| |z_j - x_j| + (z_j - x_j)^2 / (P^-1)_jj  <  cut        for each j alone

(d_j counts away from the bound that x_j is at), which tightens bounds of whole variables.

The points that rounding gives, and nodes whose variables are whole, are candidates.
"""

import numpy as np

from maskgap.solvers.convex.pivoting.tableau import (
    CUT,
    EMPTY,
    LOOSE,
    UNFINISHED,
    is_empty,
    optimise,
    read,
    rebuild,
    safe_bound,
)
from maskgap.solvers.kernels.jit import unchecked

WHOLE = 1e-7
"""x this near to a whole number is taken for it."""


@unchecked
def cut_of(value, allowed):  # type: ignore[no-untyped-def]
    """The bound at which nodes close."""
    if value == np.inf:
        return np.inf
    return value - max(allowed[0] * abs(value), allowed[1]) * (1.0 - 1e-6)


@unchecked
def value_at(P, linear, x):  # type: ignore[no-untyped-def]
    """x^T P x + q . x."""
    return np.dot(x, np.dot(P, x)) + np.dot(linear, x)


@unchecked
def beyond(cut):  # type: ignore[no-untyped-def]
    """A value of the tableau at which the bound made from P will close the node, most likely."""
    return np.inf if cut == np.inf else cut + 1e-9 * abs(cut)


@unchecked
def fits(A, sides, x):  # type: ignore[no-untyped-def]
    """Whether x keeps bounds and rows of the whole problem; sides: as of `dive`."""
    lower, upper, tolerance = sides[0], sides[1], sides[2]
    n = len(x)
    for j in range(n):
        if x[j] < lower[j] - tolerance[j] or x[j] > upper[j] + tolerance[j]:
            return False
    for i in range(len(A)):
        activity, size = np.dot(A[i], x), 1.0
        for j in range(n):
            size = max(size, abs(A[i, j] * x[j]))
        slack = tolerance[n + i] * size
        if activity < lower[n + i] - slack or activity > upper[n + i] + slack:
            return False
    return True


@unchecked
def tighten(whole, lower, upper, x, reduced, spread, left):  # type: ignore[no-untyped-def]
    """Tighten bounds of whole variables, in place; False where none is left of one.

    left: what the bound that was made from x and `reduced` lacks of the cut.
    """
    for j in range(len(x)):
        if not whole[j] or lower[j] == upper[j]:
            continue
        slope = reduced[j]
        # d |t| + t^2 / s = left, solved without a difference of large numbers; s may be infinite
        up = slope if x[j] <= lower[j] and slope > 0.0 else 0.0
        down = -slope if x[j] >= upper[j] and slope < 0.0 else 0.0
        for away in range(2):
            cost = up if away == 0 else down
            s = spread[j]
            if cost == 0.0 and not np.isfinite(s):
                continue
            reach = 2.0 * left / (cost + np.sqrt(cost * cost + 4.0 * left / s))
            if away == 0:
                upper[j] = min(upper[j], np.floor(x[j] + reach + 1e-6))
            else:
                lower[j] = max(lower[j], np.ceil(x[j] - reach - 1e-6))
        if lower[j] > upper[j]:
            return False
    return True


@unchecked
def dive(  # type: ignore[no-untyped-def]
    P, linear, A, K, whole, spread, sides, start, allowed, best, value, most, frames, out
):
    """Search below a node.

    sides: (3, N) lower and upper of variables and rows of the whole problem, and by how much a
    position may miss them for its size. start: state (N,) int8, lower and upper (n,), bound.
    allowed: relative and absolute gap, and the constant of f. best (n,): receives better points,
    value: of the best known. most: nodes. frames: arrays of a stack. out: arrays for nodes left.
    Returns (nodes, value, least bound of closed nodes, nodes left).
    """
    n, N = len(linear), len(K)
    m = N - n
    tableaus, held, states, lows, highs, bounds = frames
    out_states, out_lows, out_highs, out_bounds = out
    y, x, forces, reduced = np.zeros(N), np.zeros(n), np.zeros(m), np.zeros(n)
    rounded, tolerance = np.zeros(n), sides[2]
    depth, nodes, least, constant = 1, 0, np.inf, allowed[2]
    states[0], bounds[0] = start[0], start[3]
    lows[0], highs[0] = sides[0], sides[1]
    lows[0, :n], highs[0, :n] = start[1], start[2]
    rebuild(K, states[0], linear, lows[0], highs[0], tableaus[0], held[0])
    while depth > 0 and nodes < most and depth < len(tableaus) - 1:
        top = depth - 1
        T, z, state, lower, upper = tableaus[top], held[top], states[top], lows[top], highs[top]
        cut = cut_of(value, allowed)
        if bounds[top] >= cut:
            least = min(least, bounds[top])
            depth -= 1
            continue
        nodes += 1
        ended, at = optimise(
            K, T, z, y, state, linear, lower, upper, tolerance, beyond(cut) - constant, False
        )
        bound = -np.inf
        if ended == CUT:
            read(z, y, state, lower, upper, x, forces)
            bound = constant + safe_bound(P, linear, A, lower, upper, x, forces, reduced)
            if not bound >= cut:
                ended, at = optimise(
                    K, T, z, y, state, linear, lower, upper, tolerance, np.inf, False
                )
        if ended in (EMPTY, UNFINISHED):
            # told apart from rounding by a tableau made anew
            rebuild(K, state, linear, lower, upper, T, z)
            ended, at = optimise(K, T, z, y, state, linear, lower, upper, tolerance, np.inf, True)
            if ended == EMPTY:
                if is_empty(A, T, y, state, lower, upper, at):
                    depth -= 1
                    continue
                rebuild(K, state, linear, lower, upper, T, z)  # not proved: it stays open
                y[:] = np.dot(T, z)
        if ended != CUT:
            read(z, y, state, lower, upper, x, forces)
            bound = constant + safe_bound(P, linear, A, lower, upper, x, forces, reduced)
        if bound > bounds[top]:
            bounds[top] = bound
        if bounds[top] >= cut:
            least = min(least, bounds[top])
            depth -= 1
            continue
        # candidates
        worth, chosen, split, all_whole = -1.0, -1, 0.0, True
        for j in range(n):
            # the tableau may miss a bound by rounding, and of a large variable by more than WHOLE
            inside = min(max(x[j], lower[j]), upper[j])
            rounded[j] = np.round(inside) if whole[j] else inside
            if whole[j] and abs(inside - rounded[j]) > WHOLE:
                all_whole = False
                share = inside - np.floor(inside)
                gives = max(T[j, j], 1e-300) if state[j] == LOOSE else 1.0
                score = (share * (1.0 - share) / gives) ** 2
                if not score <= worth:  # no number is taken, too
                    worth, chosen, split = score, j, inside
        if fits(A, sides, rounded):
            found = constant + value_at(P, linear, rounded)
            if found < value:
                value = found
                best[:] = rounded
                cut = cut_of(value, allowed)
                if bounds[top] >= cut:
                    least = min(least, bounds[top])
                    depth -= 1
                    continue
        if np.isfinite(cut) and bound > -np.inf:
            if not tighten(whole, lower, upper, x, reduced, spread, cut - bound):
                least = min(least, cut)
                depth -= 1
                continue
            least = min(least, cut)
        if all_whole:
            chosen = -1
            for j in range(n):  # whole, and open: cut it off along what is widest
                width = upper[j] - lower[j] if whole[j] else 0.0
                if width > 0.0 and (chosen < 0 or width > upper[chosen] - lower[chosen]):
                    chosen = j
            if chosen < 0:
                if not whole.all() or fits(A, sides, lower[:n]):
                    least = min(least, bounds[top])  # else its only point misses a row
                depth -= 1
                continue
            below = rounded[chosen] if rounded[chosen] < upper[chosen] else rounded[chosen] - 1.0
            first_up = rounded[chosen] > below
        else:
            below = np.floor(split)
            first_up = split - below > 0.5
        both = below >= lower[chosen] and below + 1.0 <= upper[chosen]
        if not both:  # one side was cut off as bounds were tightened
            up_left = below + 1.0 <= upper[chosen]
            if not up_left and below < lower[chosen]:
                depth -= 1
                continue
            side = below + 1.0 if up_left else below
            _move(T, z, state, lower, upper, chosen, side, up_left)
            continue
        # the side that is gone into lies on top
        tableaus[depth], held[depth], states[depth] = T, z, state
        lows[depth], highs[depth], bounds[depth] = lower, upper, bounds[top]
        up, down = (depth, top) if first_up else (top, depth)
        _move(tableaus[up], held[up], states[up], lows[up], highs[up], chosen, below + 1.0, True)
        _move(
            tableaus[down], held[down], states[down], lows[down], highs[down], chosen, below, False
        )
        depth += 1
    for d in range(depth):
        out_states[d], out_bounds[d] = states[d], bounds[d]
        out_lows[d], out_highs[d] = lows[d, :n], highs[d, :n]
    return nodes, value, least, depth


@unchecked
def _move(T, z, state, lower, upper, j, side, is_lower):  # type: ignore[no-untyped-def]
    """Move a side of variable j; where it is tight at a side that moved, it moves along."""
    if is_lower:
        lower[j] = max(lower[j], side)
    else:
        upper[j] = min(upper[j], side)
    if state[j] != LOOSE:
        z[j] = min(max(z[j], lower[j]), upper[j])

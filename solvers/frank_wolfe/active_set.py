"""Frank-Wolfe steps over the vertices of equal budget groups, compiled.

x = sum of w_a v_a, w >= 0, sum w = 1. With v the vertex of least g . v, a the active one of largest
and s the active one of least g . v:

    vanilla            d = v - x                                 (Frank, Wolfe 1956)
    away               the steeper of v - x and x - a            (Guelat, Marcotte 1986)
    pairwise           d = v - a                                 (Lacoste-Julien, Jaggi 2015)
    blended pairwise   d = s - a when g . (a - s) is at least the gap, else v - x
                                                                 (Tsuji, Tanaka, Pokutta 2022)

with the exact step of a quadratic, -g . d / (2 d^T P d), cut at the weights. Lazy steps (Braun,
Pokutta, Zink 2017) take a stored vertex while it promises half of the last gap, and call the oracle
only when none does. Stored are the active vertices and, behind them, those that have left the
active set (the shadow set of Boscia); a child keeps what fits its forced columns.

A step costs n^2 for P d and n for each stored vertex. The gap that ends a node comes from the
oracle. Sets that are seen through any other oracle have `frank_wolfe.vertices`.
"""

import numpy as np

from maskgap.instances.masks.state import KEPT, PRUNED
from maskgap.solvers.frank_wolfe.node import FLAT, STEPS, value_of
from maskgap.solvers.frank_wolfe.variants import AWAY, BLENDED, PAIRWISE
from maskgap.solvers.kernels.jit import strict
from maskgap.solvers.oracles.equal_groups import vertex_along


def room(n: int) -> int:
    """Vertices stored in a node: an active set needs n + 1, steps use more, the rest is shadow."""
    return 2 * n + 32


NEGLIGIBLE = 1e-12
"""A weight below this leaves the active set."""


@strict
def fitting(state, atoms, weights, counts):  # type: ignore[no-untyped-def]
    """Keep the vertices that respect the forced columns; active weights again sum to 1.

    atoms (room, n), weights (room,), counts: [active, stored], all in place.
    """
    active, stored, total = 0, 0, 0.0
    was_active, was_stored = counts[0], counts[1]
    for a in range(was_stored):
        fits = np.all((state != PRUNED) | (atoms[a] == 1.0))
        if fits and np.all((state != KEPT) | (atoms[a] == 0.0)):
            atoms[stored] = atoms[a]
            weights[stored] = weights[a] if a < was_active else 0.0
            if a < was_active:
                active = stored + 1
                total += weights[a]
            stored += 1
    if total < NEGLIGIBLE:
        active = 0
    for a in range(active):
        weights[a] /= total
    counts[0], counts[1] = active, stored


@strict
def _exchange(atoms, weights, a, b):  # type: ignore[no-untyped-def]
    if a != b:
        row = atoms[a].copy()
        atoms[a] = atoms[b]
        atoms[b] = row
        weights[a], weights[b] = weights[b], weights[a]


@strict
def _activate(atoms, weights, counts, at, vertex):  # type: ignore[no-untyped-def]
    """Position of a vertex in the active set, added with weight 0; -1 when there is no room.

    at: its position among the stored ones, -1 when it is not known.
    """
    if at < 0:
        for a in range(counts[1]):
            if np.all(atoms[a] == vertex):
                at = a
                break
    if 0 <= at < counts[0]:
        return at
    if at < 0:
        if counts[1] == len(atoms):
            if counts[0] == counts[1]:
                return -1
            counts[1] -= 1  # the last of the shadow set makes room
        at = counts[1]
        atoms[at] = vertex
        counts[1] += 1
    weights[at] = 0.0
    _exchange(atoms, weights, at, counts[0])
    counts[0] += 1
    return counts[0] - 1


@strict
def _drop_empty(atoms, weights, counts):  # type: ignore[no-untyped-def]
    """Active vertices without weight go to the shadow set."""
    a = 0
    while a < counts[0]:
        if weights[a] <= NEGLIGIBLE and counts[0] > 1:
            counts[0] -= 1
            _exchange(atoms, weights, a, counts[0])
        else:
            a += 1


@strict
def minimise_on_vertices(  # type: ignore[no-untyped-def]
    matrix, linear, constant, rules, state, x, gradient, cut, atoms, weights, counts
):
    """Steps of the rules' variant until the node can be closed or branched.

    x is replaced by the active set's point when there is one, else by a vertex. x and gradient are
    left at the last point. Returns (steps, oracle calls).
    """
    n = len(x)
    vertex = np.empty(n)
    steps, calls = 0, 0
    fitting(state, atoms, weights, counts)
    if counts[0] == 0:
        vertex_along(rules.size, rules.budget, state, gradient, vertex)
        calls += 1
        weights[_activate(atoms, weights, counts, -1, vertex)] = 1.0
    x[:] = np.dot(weights[: counts[0]], atoms[: counts[0]])
    gradient[:] = 2.0 * np.dot(matrix, x) + linear
    promised = np.inf
    while steps < STEPS:
        active = counts[0]
        scores = np.dot(atoms[: counts[1]], gradient)
        along = np.dot(gradient, x)
        away, near, stored = np.argmax(scores[:active]), np.argmin(scores[:active]), scores.argmin()
        local = scores[away] - scores[near]
        descent = along - scores[stored]
        at = stored
        inside = rules.variant == BLENDED and rules.lazy and local >= promised
        if not inside and not (rules.lazy and descent >= promised):
            least = vertex_along(rules.size, rules.budget, state, gradient, vertex)
            calls += 1
            value, gap = value_of(linear, constant, x, gradient), along - least
            if value - gap >= cut or gap <= FLAT * abs(value):
                break
            if value < cut and gap <= rules.node_tolerance * (cut - value):
                break
            promised = 0.5 * gap
            descent = along - np.dot(gradient, vertex)
            at = -1
            inside = rules.variant == BLENDED and local >= descent
        to = near if inside else _activate(atoms, weights, counts, at, vertex)
        if to < 0:
            break
        # _activate may have moved the vertex that `away` was, never an active one
        pair = inside or rules.variant == PAIRWISE
        back = rules.variant == AWAY and scores[away] - along > descent and active > 1
        if pair:
            direction, longest = atoms[to] - atoms[away], weights[away]
        elif back:
            direction, longest = x - atoms[away], weights[away] / (1.0 - weights[away])
        else:
            direction, longest = atoms[to] - x, 1.0
        image = np.dot(matrix, direction)
        curve, slope = 2.0 * np.dot(direction, image), np.dot(gradient, direction)
        if slope >= 0.0:
            break
        length = longest if curve * longest <= -slope else -slope / curve
        if pair:
            weights[away] -= length
            weights[to] += length
        elif back:
            weights[: counts[0]] *= 1.0 + length
            weights[away] -= length
        else:
            weights[: counts[0]] *= 1.0 - length
            weights[to] += length
        x += length * direction
        gradient += 2.0 * length * image
        steps += 1
        _drop_empty(atoms, weights, counts)
    return steps, calls

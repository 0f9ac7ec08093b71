"""A second checker of proofs: slow, in exact arithmetic, for parts whose masks can all be listed.

Written from solvers/METHOD.md and the format of proofs (`instances.formats.evidence`) alone; it
shares no line with the checker of the program. Everything is an integer over a power of two, so
nothing is rounded and no allowance is needed: for the numbers as they are stored,

    L(z) = sum over rows of max(0, r G r^T),  r = w z,      z = 1 on pruned columns,

and a bound holds or does not. The least value of a function over the masks of a leaf is read off
their list (`tests.helpers.exact_functions`).
"""

from fractions import Fraction
from itertools import pairwise

import numpy as np

from maskgap.instances.formats.evidence.enumeration import Enumeration
from maskgap.instances.formats.evidence.leaves import Leaves, equality_rows
from maskgap.instances.formats.evidence.refit_leaves import RefitLeaves
from maskgap.instances.formats.evidence.shared_budget import SharedBudget
from maskgap.instances.formats.evidence.shared_shift import SharedShift
from maskgap.instances.formats.evidence.trivial import Trivial
from maskgap.instances.masks.groups import BudgetGroups
from maskgap.instances.problem import Part
from tests.helpers.exact import losses, quadratic, squared_weight, whole
from tests.helpers.exact_functions import (
    Rejected,
    convex,
    finite,
    function_of,
    given,
    least,
    require,
)
from tests.helpers.exact_refit import refit_bound, refit_curve


def leaf_ways(leaves, n):
    """The way to each leaf, in order: {node: the columns split above it, {column: pruned}}.

    It goes from the root to the leaf, both among them.
    """
    open_nodes, found = [({}, {})], []
    for node, column in enumerate(leaves.branch.tolist()):
        require(open_nodes, "the tree has nodes beyond its leaves")
        state, above = open_nodes.pop()
        way = {**above, node: state}
        if column == -1:
            found.append(way)
            continue
        require(0 <= column < n, f"the tree splits column {column}")
        require(column not in state, f"the tree splits column {column} twice")
        open_nodes += [({**state, column: True}, way), ({**state, column: False}, way)]
    require(not open_nodes, "the tree ends before its last leaf")
    counts = (len(found),)
    require(leaves.function.shape == leaves.point.shape == counts, "leaves are miscounted")
    return found


def leaf_states(leaves, n):
    """The columns split on the way to each leaf, in order: {column: pruned}."""
    return [list(way.values())[-1] for way in leaf_ways(leaves, n)]


def points_of(leaves, n):
    """The points as Fractions, each an object array (n,)."""
    require(leaves.points.ndim == 2 and leaves.points.shape[1] == n, "points of another size")
    return list(finite(leaves.points, leaves.points.shape, "point"))


def tree_bound(part, pruned, leaves):
    """The least bound of the leaves over the masks of the part."""
    rows, sides = rows_of(part, pruned)
    points = points_of(leaves, part.n)
    quad = quadratic(part)
    functions, found = {}, []
    for number, way in enumerate(leaf_ways(leaves, part.n)):
        left = pruned
        for column, value in list(way.values())[-1].items():
            left = left[left[:, column] == value]
        which, at = int(leaves.function[number]), int(leaves.point[number])
        require(-1 <= which < len(leaves.functions), f"leaf {number} names function {which}")
        if which == -1:
            require(len(left) <= 1, f"leaf {number} has {len(left)} masks left")
            found += losses(part, left)
            continue
        function = leaves.functions[which]
        require(function.holds in way, f"leaf {number} is not where function {which} holds")
        fixed = way[function.holds]
        if which not in functions:
            made = function_of(part, quad, function, rows, sides)
            functions[which] = convex(*given(*made, function, fixed))
        require(0 <= at < len(points), f"leaf {number} names point {at}")
        free = [column for column in range(part.n) if column not in fixed]
        if len(left):
            found.append(least(functions[which], [whole(points[at][free])], left[:, free]))
    require(found, "no leaf has a mask")
    return min(found)


def rows_of(part, pruned):
    """(E, k) of the equality rows as integers, after a look at whether every mask meets them."""
    rows, sides = (array.astype(int).astype(object) for array in equality_rows(part.legal))
    require(bool((pruned.dot(rows.T) == sides).all()), "an equality row does not hold")
    return rows, sides


def shift_bound(part, pruned, shared):
    """The bound of a shared shift d: u = w^2 d, P = diag(w) (G - Diag(d)) diag(w)."""
    require(part.height == 1, "a shared shift is of single rows")
    d = finite(shared.shift, (part.n,), "shift")
    point = whole(finite(shared.point, (part.n,), "point"))
    u = d * squared_weight(part)
    matrix = np.full((part.n + 1, part.n + 1), Fraction(0), dtype=object)
    terms = np.stack([quadratic(part), -np.diag(u)])
    matrix[1:, 1:] = terms.sum(axis=0)
    matrix[0, 1:] = matrix[1:, 0] = u / 2
    return least(convex(matrix, terms), [point], pruned)


def curve(row, proof):
    """b(k) of one row for k = 0 ... n pruned columns, at least 0, by every point and between them.

    The function of one leaf, with k in the place of the budget that the proof is for.
    """
    leaves, n = proof.evidence, row.n
    if isinstance(leaves, RefitLeaves) and row.objective.refits:
        require(leaf_states(leaves, n) == [{}], "rows of a shared budget have one leaf")
        return refit_curve(row, leaves, points_of(leaves, n))
    require(not row.objective.refits, "it is about the other objective")
    require(isinstance(leaves, Leaves), "rows of a shared budget have trees")
    require(leaf_states(leaves, n) == [{}], "rows of a shared budget have one leaf")
    which, points = int(leaves.function[0]), points_of(leaves, n)
    require(0 <= which < len(leaves.functions), f"the leaf names function {which}")
    require(0 <= int(leaves.point[0]) < len(points), "the leaf names no point")
    every = (np.arange(1 << n)[:, None] >> np.arange(n)) & 1 == 1
    counts, quad, ones = every.sum(axis=1), quadratic(row), np.full((1, n), 1, dtype=object)
    found = []
    for k in range(n + 1):
        pruned, sides = every[counts == k], np.array([k], dtype=object)
        if len(pruned) == 1:
            found.append(losses(row, pruned)[0])
            continue
        function = convex(*function_of(row, quad, leaves.functions[which], ones, sides))
        near = [whole(point) for point in [*points, between(points, k, n)]]
        found.append(max(Fraction(0), least(function, near, pruned)))
    return found


def between(points, k, n):
    """The point of sum k on the path through the points by their sums, from all 0 to all 1."""
    corners = [np.full(n, Fraction(value), dtype=object) for value in (0, 1)]
    path = [corners[0], *sorted((p for p in points if 0 < sum(p) < n), key=sum), corners[1]]
    left, right = next(pair for pair in pairwise(path) if sum(pair[1]) > k)
    return left + (right - left) * (k - sum(left)) / (sum(right) - sum(left))


def shared_bound(part, pruned, proof):
    """The best over t of sum_r min_k (b_r(k) - t k) + t K: the K least slopes of the hulls.

    A row may have proofs under several budgets, of which b_r is the highest curve, or none.
    """
    curves = {row: [Fraction(0)] * (part.layer.d_in + 1) for row in part.rows}
    totals = set(pruned.sum(axis=1).tolist())
    require(len(totals) == 1, "masks of several budgets")
    for listed in proof.evidence.rows:
        own, budget = listed.proof, listed.budget
        n = part.layer.d_in
        require(own.row in curves, f"row {own.row} is not in the part")
        require(budget is not None and 0 <= budget <= n, f"a row's budget is {budget}")
        legal = BudgetGroups(n, n, budget)
        row = Part(part.layer, own.row, part.pattern, legal, objective=part.objective)
        schema(row, own)
        curves[own.row] = [max(pair) for pair in zip(curves[own.row], curve(row, own), strict=True)]
    slopes = [slope for values in curves.values() for slope in hull_slopes(values)]
    start = sum(values[0] for values in curves.values())
    return start + sum(sorted(slopes)[: totals.pop()])


def hull_slopes(values):
    """The slopes of the lower convex hull of points (k, values[k]), one for each unit step."""
    slopes, k, last = [], 0, len(values) - 1
    while k < last:
        steepness = [(values[j] - values[k]) / (j - k) for j in range(k + 1, last + 1)]
        step = steepness.index(min(steepness)) + 1
        slopes += [min(steepness)] * step
        k += step
    return slopes


def schema(part, proof):
    """What a proof says of itself, against what it is for."""
    require(proof.problem == part.digest, "it is about another problem")
    require((proof.row, proof.height) == (part.row, part.height), "it is about other rows")


def exact_bound(part, pruned, proof):
    """The bound that a proof proves for a part with legal masks `pruned`, as a Fraction.

    The trivial bound 0 counts. Raises Rejected, also where the stated bound is above it.
    """
    schema(part, proof)
    if proof.mask is not None:
        require(proof.mask.shape == (part.n,), "a mask of another size")
        require(bool((pruned == ~proof.mask).all(axis=1).any()), "its mask is not legal")
    evidence = proof.evidence
    both = isinstance(evidence, Trivial | SharedBudget)
    refits = isinstance(evidence, RefitLeaves)
    require(both or refits == part.objective.refits, "it is about the other objective")
    match evidence:
        case Trivial():
            bound = Fraction(0)
        case Enumeration():
            bound = min(losses(part, pruned))
        case Leaves():
            bound = tree_bound(part, pruned, evidence)
        case RefitLeaves():
            states, points = leaf_states(evidence, part.n), points_of(evidence, part.n)
            bound = refit_bound(part, pruned, evidence, states, points)
        case SharedShift():
            bound = shift_bound(part, pruned, evidence)
        case SharedBudget():
            bound = shared_bound(part, pruned, proof)
        case _:
            raise Rejected(f"it is of kind {type(evidence).__name__}")
    bound = max(Fraction(0), bound)
    require(proof.bound <= bound, f"it states {proof.bound}, but proves {float(bound)}")
    return bound

"""Proofs under refit, made with numpy alone: valid ones of any pattern, by small random trees.

The bound of a leaf (`instances.formats.evidence.refit_leaves`) holds for every diagonal D with
H - Diag(D) semidefinite, and every vector delta. The best delta for a z in [0, 1]^n is, with
s = sqrt((1 - z) / D) and R = H - Diag(D),

    delta = z w - s v,   (I + s R s) v = s R (z w).
"""

from dataclasses import replace

import numpy as np

from maskgap.benchmarks.verify.check import check_part
from maskgap.instances.errors import ProofError
from maskgap.instances.formats.evidence.refit_leaves import RefitLeaves
from maskgap.instances.formats.evidence.shared_budget import RowProof, SharedBudget
from maskgap.instances.formats.proof import PartProof
from maskgap.instances.masks.groups import BudgetGroups
from maskgap.instances.masks.patterns import parse_pattern
from maskgap.instances.masks.state import FREE, KEPT, PRUNED
from maskgap.instances.objective import objective_spec
from maskgap.instances.part import Part
from maskgap.instances.problem import Problem


def refit_problem(layer, pattern, ridge=0.01):
    return Problem.of(layer, parse_pattern(pattern), objective=objective_spec("refit", ridge))


def refit_part(layer, pattern, ridge=0.01, row=0):
    return refit_problem(layer, pattern, ridge).part_of(row)


def diagonal_of(matrix, chosen, rng=None):
    """A D (n,) as large as a multiple of a scale can be on chosen columns (n,), 0 elsewhere."""
    found, block = np.zeros(len(matrix)), matrix[np.ix_(chosen, chosen)]
    if not len(block):
        return found
    scale = block.diagonal() if rng is not None and rng.random() < 0.5 else own_scale(block)
    if rng is not None:
        scale = scale * rng.uniform(0.3, 1.0, len(scale))
    half = 1.0 / np.sqrt(scale)
    least = np.linalg.eigvalsh(half[:, None] * block * half)[0]
    found[chosen] = np.minimum(least * scale, block.diagonal())
    return found


def own_scale(block):
    """What is left of a column's diagonal once the others are taken out."""
    return 1.0 / np.linalg.inv(block).diagonal()


def delta_of(matrix, target, diagonal, z):
    """The best delta for z, on columns with D > 0; z is 1 on the others."""
    with np.errstate(divide="ignore", invalid="ignore"):
        s = np.where(diagonal > 0.0, np.sqrt((1.0 - z) / diagonal), 0.0)
    rest, gone = matrix - np.diag(diagonal), z * target
    scaled = s[:, None] * rest * s
    return gone - s * np.linalg.solve(np.eye(len(z)) + scaled, s * (rest @ gone))


def near_best(part, diagonal, masks, steps=25):
    """The delta of the z that Frank-Wolfe steps over some masks (any, n) come to."""
    matrix, target = part.hessian, part.target
    z = masks.mean(axis=0)
    for step in range(steps):
        delta = delta_of(matrix, target, diagonal, z)
        slope = slope_of(matrix, target, diagonal, delta)
        z += 2.0 / (step + 2.0) * (masks[(masks @ slope).argmin()] - z) * min(1.0, step)
    return delta_of(matrix, target, diagonal, z)


def slope_of(matrix, target, diagonal, delta):
    """c_j = (h_j + D_j (w_j - delta_j))^2 / D_j, 0 where D_j is."""
    live = diagonal > 0.0
    force = matrix @ delta + diagonal * (target - delta)
    return np.where(live, force**2 / np.where(live, diagonal, 1.0), 0.0)


def refit_tree(part, rng, depth=3, drops=True):
    """Evidence by a random tree: a diagonal of its own at some nodes, a point a leaf."""
    matrix, n = part.hessian, part.n
    masks = np.concatenate([np.array(block) for block in part.legal.enumerate_pruned()])
    diagonals, dropped, branch, function, points = [], [], [], [], []

    def new_diagonal(state):
        out = (state == PRUNED) if drops else np.zeros(n, dtype=bool)
        diagonals.append(diagonal_of(matrix, ~out, rng))
        dropped.append(out)
        return len(diagonals) - 1

    def grow(state, level, number):
        if number is None or rng.random() < 0.3:
            number = new_diagonal(state)
        free = np.flatnonzero(state == FREE)
        if level and len(free) and rng.random() < 0.85:
            column = int(rng.choice(free))
            branch.append(column)
            for side in (KEPT, PRUNED):
                child = state.copy()
                child[column] = side
                grow(child, level - 1, number)
            return
        branch.append(-1)
        function.append(number)
        fits = (masks | (state != PRUNED)) & (~masks | (state != KEPT))
        left = masks[fits.all(axis=1)]
        own = np.where(dropped[number], 0.0, diagonals[number])
        points.append(near_best(part, own, left) if len(left) else rng.normal(size=n))

    grow(np.full(n, FREE, dtype=np.int8), depth, None)
    return RefitLeaves(
        np.array(diagonals),
        np.array(dropped),
        np.array(branch, dtype=np.int32),
        np.array(function, dtype=np.int32),
        np.arange(len(points), dtype=np.int32),
        np.array(points, dtype=np.float64),
    )


def refit_proof(part, evidence, bound=0.0, mask=None):
    return PartProof(part.row, part.digest, bound, mask, evidence, height=part.height)


def refit_root(part, z=0.5, rng=None):
    """Evidence by one leaf with the points of several z."""
    diagonal = diagonal_of(part.hessian, np.ones(part.n, dtype=bool), rng)
    levels = np.atleast_1d(z)
    points = [delta_of(part.hessian, part.target, diagonal, np.full(part.n, one)) for one in levels]
    return RefitLeaves(
        diagonals=diagonal[None, :],
        dropped=np.zeros((1, len(diagonal)), dtype=np.bool_),
        branch=np.array([-1], dtype=np.int32),
        function=np.array([0], dtype=np.int32),
        point=np.array([0], dtype=np.int32),
        points=np.array(points),
    )


def refit_shared(part, rng=None):
    """Evidence by one leaf a row, where rows share a budget."""
    n, rows = part.layer.d_in, []
    for row in part.rows:
        budget = part.legal.total_pruned // part.height
        legal = BudgetGroups(n, n, budget)
        alone = Part(part.layer, row, f"keep={n - budget}", legal, objective=part.objective)
        evidence = refit_root(alone, np.linspace(0.1, 0.9, 5), rng)
        rows.append(RowProof(budget, refit_proof(alone, evidence)))
    return SharedBudget(tuple(rows))


def bound_or_none(part, proof):
    """What the checker derives, None where it refuses."""
    try:
        return check_part(part, proof).bound
    except ProofError:
        return None


def altered(rng, tree):
    """A tree with one of its arrays changed; it may still be valid."""
    name = str(rng.choice(["diagonals", "points", "dropped", "branch", "function", "point"]))
    array = getattr(tree, name).copy()
    where = int(rng.integers(array.size))
    if name == "dropped":
        if rng.random() < 0.3:
            array[:] = rng.random(array.shape) < 0.3
        else:
            array.flat[where] ^= True
    elif name in ("diagonals", "points"):
        special = [0.0, -1.0, np.nan, np.inf, -np.inf, 5e-324, 1e-38, 1e30, 1e-150, 1e-200]
        change = rng.integers(4)
        with np.errstate(all="ignore"):
            if change == 0:
                array.flat[where] = rng.choice(special)
            elif change == 1:
                array.flat[where] *= 1.0 + 10.0 ** -rng.integers(0, 15)
            elif change == 2:
                array *= 1.0 + 10.0 ** -rng.integers(0, 15)
            else:
                array += (rng.normal(size=array.shape) * 10.0 ** -rng.integers(0, 9)).astype("f4")
    elif name == "branch":
        array.flat[where] = rng.integers(-1, tree.points.shape[1])
    else:
        array.flat[where] = rng.integers(-1, len(tree.points))
    return replace(tree, **{name: array})

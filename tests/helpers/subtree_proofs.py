"""Proofs whose functions hold in subtrees, made with numpy alone for parts with few masks.

A random tree; at some nodes a function of its free columns: random multipliers alpha and triangles
on them, and u a multiple of a positive diagonal that makes P semidefinite on them. A leaf uses one
of the functions on its way, at a point near the least of it over its masks (Frank-Wolfe).
"""

from dataclasses import dataclass, replace

import numpy as np

from maskgap.instances.convex_function import ConvexFunction
from maskgap.instances.formats.evidence.leaves import Leaves, equality_rows
from maskgap.instances.formats.proof import PartProof
from maskgap.instances.masks.state import FREE, KEPT, PRUNED
from maskgap.instances.triangles import Triangles, no_triangles

ROOT_CHANCE, NODE_CHANCE = 0.5, 0.6
"""How often the root and another node has a function; the first on the way of a leaf is forced."""


@dataclass
class Growing:
    """A tree that grows. depth: most splits on a way."""

    part: object
    pruned: np.ndarray
    rng: np.random.Generator
    depth: int

    def __post_init__(self):
        self.branch, self.functions, self.function, self.points = [], [], [], []

    def grow(self, state, above):
        """The subtree of a node. above: numbers of the functions on its way."""
        rng, level = self.rng, int((state != FREE).sum())
        free, node = np.flatnonzero(state == FREE), len(self.branch)
        leaf = level >= self.depth or not len(free) or (level > 0 and rng.random() < 0.15)
        if rng.random() < (NODE_CHANCE if level else ROOT_CHANCE) or (leaf and not above):
            self.functions.append(function_at(self.part, state, rng, holds=node))
            above = [*above, len(self.functions) - 1]
        if leaf:
            self._leaf(state, above)
            return
        column = int(rng.choice(free))
        self.branch.append(column)
        for side in (KEPT, PRUNED):
            child = state.copy()
            child[column] = side
            self.grow(child, above)

    def _leaf(self, state, above):
        left = masks_of(self.pruned, state)
        single = self.part.legal.equal_groups is not None or bool((state != FREE).all())
        self.branch.append(-1)
        if len(left) <= 1 and single and self.rng.random() < 0.5:
            self.function.append(-1)
            return
        number = above[-1] if self.rng.random() < 0.7 else int(self.rng.choice(above))
        self.function.append(number)
        self.points.append(near_least(self.part, self.functions[number], left, self.rng))


def subtree_leaves(part, pruned, rng, depth=3):
    """A tree of a part with legal masks `pruned` (masks, n), True = pruned."""
    growing = Growing(part, pruned, rng, depth)
    growing.grow(np.full(part.n, FREE, np.int8), [])
    function = np.array(growing.function, np.int16)
    count = np.cumsum(function >= 0) - 1
    return Leaves(
        tuple(one for one, _ in growing.functions),
        np.array(growing.branch, np.int32),
        function,
        np.where(function >= 0, count, -1).astype(np.int32),
        np.array(growing.points, np.float32).reshape(-1, part.n),
    )


def subtree_proof(part, pruned, rng, depth=3, **changes):
    """A proof of such a tree, with the bound 0 stated."""
    leaves = subtree_leaves(part, pruned, rng, depth)
    return replace(
        PartProof(part.row, part.digest, 0.0, None, leaves, height=part.height), **changes
    )


def masks_of(pruned, state):
    """The masks that a state leaves."""
    fits = (pruned | (state != PRUNED)) & (~pruned | (state != KEPT))
    return pruned[fits.all(axis=1)]


def function_at(part, state, rng, holds):
    """(a function that holds where a state is forced, and its (state, P, q) in float64)."""
    n, free, gone = part.n, state == FREE, (state == PRUNED).astype(float)
    rows, budget = equality_rows(part.legal)
    alpha = rng.choice([0.0, 0.01, 0.1]) * rng.normal(size=(len(rows), n)) * free
    triangles = triangles_on(np.flatnonzero(free), rng)
    matrix = part.quad + 0.5 * (alpha.T @ rows + rows.T @ alpha)
    linear = 2.0 * (part.quad @ gone) - (budget - rows @ gone) @ alpha
    for (a, b, c), apex, weight in zip(
        triangles.columns.tolist(), triangles.apex.tolist(), triangles.weight.tolist(), strict=True
    ):
        pairs = {(a, b): 1.0, (a, c): 1.0, (b, c): 1.0}
        if apex >= 0:
            own = (a, b, c)[apex]
            pairs = {pair: -1.0 if own in pair else 1.0 for pair in pairs}
        for column in (a, b, c):
            sign = -1.0 if apex == -1 else float(column == (a, b, c)[apex])
            if column >= 0:
                linear[column] -= weight * sign
        for (i, j), sign in pairs.items():
            if i == -1:
                linear[j] -= weight * sign
            else:
                matrix[i, j] -= 0.5 * weight * sign
                matrix[j, i] -= 0.5 * weight * sign
    scale = np.where(free, rng.uniform(0.5, 1.0, n), 1.0)
    square = (matrix / np.sqrt(np.outer(scale, scale)))[np.ix_(free, free)]
    least = float(np.linalg.eigvalsh(square)[0]) if free.any() else 0.0
    slack = rng.choice([1e-13, 1e-6, 1e-2])
    u = (least - slack) * scale * free
    function = ConvexFunction(u, alpha, triangles, holds)
    return function, (free, matrix - np.diag(u), linear + u)


def triangles_on(columns, rng):
    """A few triangles on columns and the constant, or none."""
    if len(columns) < 2 or rng.random() < 0.5:
        return no_triangles()
    among, count = np.concatenate([[-1], columns]), int(rng.integers(1, 5))
    chosen = np.sort([rng.choice(among, 3, replace=False) for _ in range(count)])
    return Triangles(
        chosen.astype(np.int32),
        rng.integers(-1, 3, count).astype(np.int16),
        rng.uniform(0.0, 0.02, count),
    )


def near_least(part, made, left, rng, steps=20):
    """A point near the least of a function over the hull of masks; anything where there are none.

    Its entries on columns that the function does not have are anything.
    """
    _, (free, matrix, linear) = made
    if not len(left):
        return rng.random(part.n)
    masks = left[:, free].astype(float)
    x = masks.mean(axis=0)
    for step in range(steps):
        slope = 2.0 * (matrix[np.ix_(free, free)] @ x) + linear[free]
        x += 2.0 / (step + 3.0) * (masks[np.argmin(masks @ slope)] - x)
    point = rng.random(part.n)
    point[free] = x
    return point

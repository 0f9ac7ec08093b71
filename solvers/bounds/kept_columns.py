"""Columns that every mask worth finding keeps, shown by one linearisation each.

A row's loss with column j pruned is at least its least over all real y = w * z with y_j = w_j,

    c_j = w_j^2 / (G^-1)_jj,     at y = w_j G^-1 e_j / (G^-1)_jj,

which is the linearisation of the loss itself at that point. Columns with c_j above the loss of a
known mask are kept by every better one: in a proof, each is a split whose pruned side is a leaf
with that point, and the row's function holds on the kept side of all, on the other columns alone.
Features of outlying energy have such columns, and without them the relaxation is tighter.

They are taken one after another, largest first. Below the split of j those before it are kept, so
z is 0 there and cannot make up for column j. It is also held at 0 where it would be far out, on
columns of nearly no weight: in the hull they can do next to nothing. With E for all of these,

    (G_-E)^-1 = G^-1 - (G^-1)_:E ((G^-1)_EE)^-1 (G^-1)_E:   on the other columns.
"""

from dataclasses import dataclass, replace
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from maskgap.instances.arrays import Matrix, Vector, pruned_of
from maskgap.instances.convex_function import ConvexFunction
from maskgap.instances.formats.evidence.leaves import Leaves
from maskgap.instances.masks.state import FREE, KEPT, PRUNED, States
from maskgap.instances.problem import Part, Problem
from maskgap.solvers.bounds.iterate import inverse
from maskgap.solvers.bounds.unit_diagonal import UnitDiagonal, scaled
from maskgap.solvers.objectives import convexify
from maskgap.solvers.objectives.shift import lifted_factor

RIDGE = 1e-9
"""Added to the Gram of unit diagonal before it is inverted."""

ABOVE = 1.02
"""By how much c_j is to be above the loss, for what storing the point costs."""

MOST = 64
"""Columns of a row at most: each takes a point in the proof."""

FARTHEST = 100.0
"""Largest entry of a point: beyond it the allowances for rounding grow."""

HOLDS = 4
"""How often columns of a point that are too far out are held at 0; what is left then is cut."""


@dataclass(frozen=True, eq=False)
class KeptColumns:
    """Of a row. columns: (f,). points: (f, n) float32. bounds: (f,) in units of `Part.quad`."""

    columns: NDArray[np.intp]
    points: NDArray[np.float32]
    bounds: Vector

    @staticmethod
    def none(n: int) -> "KeptColumns":
        """No columns of a row of n."""
        empty = np.zeros(0)
        return KeptColumns(np.zeros(0, np.intp), np.zeros((0, n), np.float32), empty)

    def and_one(self, column: int, point: NDArray[np.float32], bound: float) -> "KeptColumns":
        """These, and below their splits one more."""
        return KeptColumns(
            np.append(self.columns, column),
            np.concatenate([self.points, point[None, :]]),
            np.append(self.bounds, bound),
        )

    def state(self, n: int) -> States:
        """(n,) the node on the kept side of all splits."""
        out = np.full(n, FREE, np.int8)
        out[self.columns] = KEPT
        return out

    def least(self, stated: float) -> float:
        """The bound of all leaves, with the one on the kept side of all splits stated."""
        return min(stated, float(self.bounds.min(initial=np.inf)))

    def leaves(self, part: Part, function: ConvexFunction, point: NDArray[np.float32]) -> Leaves:
        """The tree: function and point are those on the kept side of all splits."""
        count = len(self.columns)
        held = replace(function, holds=count)
        functions = (held,) if not count else (held, convexify.plain(part.legal))
        order = np.arange(count)[::-1]  # the last split's other side comes first
        return Leaves(
            functions=functions,
            branch=np.concatenate([self.columns, np.full(count + 1, -1)]).astype(np.int32),
            function=np.array([0] + [1] * count, dtype=np.int16),
            point=np.arange(count + 1, dtype=np.int32),
            points=np.concatenate([point[None, :], self.points[order]]),
        )


class OutlyingColumns:
    """Finds them for the rows of a problem of one budget a row; none for other patterns."""

    def __init__(self, problem: Problem) -> None:
        self._problem = problem
        gram, _ = problem.layer.gram_unit
        self._units = UnitDiagonal.of(gram)

    @cached_property
    def _inverse(self) -> Matrix | None:
        """G^-1 in units of a unit diagonal, nearly; None where the arithmetic fails."""
        gram, _ = self._problem.layer.gram_unit
        correlation = scaled(gram, self._units.inverse)
        correlation[np.diag_indices(len(gram))] = 1.0
        factor = lifted_factor(correlation, RIDGE)
        return None if factor is None else inverse(factor)

    def of(self, part: Part) -> KeptColumns:
        """Those of a row, by the loss of its start mask or, without one, of Wanda's."""
        groups = part.legal.equal_groups
        none = KeptColumns.none(part.n)
        if groups is None or groups.count > 1 or groups.single:
            return none
        quad = part.quad
        diagonal = quad.diagonal()
        mask = part.legal.prune_lowest(diagonal) if part.start is None else part.start
        pruned = pruned_of(mask)
        loss = float(quad[np.ix_(pruned, pruned)].sum())
        # (G^-1)_jj is at least 1 / G_jj: nothing else can be far enough up
        maybe = np.flatnonzero(diagonal > loss)
        maybe = maybe[np.argsort(-diagonal[maybe], kind="stable")][:MOST]
        maybe = maybe[: part.n - groups.pruned - 1]
        whole = self._inverse if len(maybe) and loss > 0.0 else None
        if whole is None:
            return none
        kept = none
        for column in maybe.tolist():
            point = self._point(part, whole, column, kept.columns)
            bound = _bound(part, column, kept.columns, point)
            if bound >= ABOVE * loss:
                kept = kept.and_one(column, point, bound)
        return kept

    def _point(
        self, part: Part, whole: Matrix, column: int, kept: NDArray[np.intp]
    ) -> NDArray[np.float32]:
        """(n,) z = y / w of a column, where others are kept. whole: `_inverse`."""
        weight = part.weight * self._units.root
        scale = np.where(weight != 0.0, weight, np.inf)
        held = np.zeros(part.n, dtype=bool)
        held[kept] = True
        z = np.zeros(part.n)
        for _ in range(HOLDS):
            y = whole[column].copy()
            out = np.flatnonzero(held)
            if len(out):
                y -= np.linalg.solve(whole[np.ix_(out, out)], y[out]) @ whole[out]
                y[out] = 0.0
            z = y * (weight[column] / y[column]) / scale
            far = np.abs(z) > FARTHEST
            if not far.any():
                break
            held |= far
        return np.clip(z, -FARTHEST, FARTHEST).astype(np.float32)


def _bound(part: Part, column: int, kept: NDArray[np.intp], point: NDArray[np.float32]) -> float:
    """What the linearisation at a point says of the masks that prune a column and keep others.

    Rounded down.
    """
    quad, legal = part.quad, part.legal
    x = point.astype(np.float64)
    slope = 2.0 * (quad @ x)
    wide = 1.0 + float(np.abs(x).max())
    margin = convexify.rounding_margin(quad, legal) * wide * wide
    state = np.full(part.n, FREE, np.int8)
    state[kept], state[column] = KEPT, PRUNED
    least = legal.minimise(slope, state)
    value = -np.inf if least is None else float(slope[least].sum())
    return value - 0.5 * float(slope @ x) - margin

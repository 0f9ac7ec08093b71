"""Problems: rows of a layer under a pattern, to be solved part by part (`instances.part`)."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from functools import cached_property

import numpy as np

from maskgap.instances.arrays import Kept, Matrix, Vector
from maskgap.instances.change import change_errors
from maskgap.instances.convex_function import ConvexFunction
from maskgap.instances.errors import InputError, Refused
from maskgap.instances.hessian import Hessian
from maskgap.instances.layer import Layer, array_digest, short
from maskgap.instances.masks.groups import BudgetGroups
from maskgap.instances.masks.pattern import PartMasks, Pattern
from maskgap.instances.objective import MASK, ObjectiveSpec
from maskgap.instances.part import Part, identity_under
from maskgap.instances.product_range import LOSS_ROWS, require_range
from maskgap.instances.refit import AUTO, Solves

__all__ = ["LOSS_ROWS", "Part", "Problem"]


@dataclass(frozen=True, eq=False, repr=False)
class Problem:
    """A half-open range of rows of a layer under a pattern.

    start: masks (d_out, d_in) to start from, or None; rows outside `rows` are not looked at.
    objective: what is minimised. minorants: those of some rows (`Part`), or None.
    """

    layer: Layer
    pattern: Pattern
    rows: range
    start: Kept | None = None
    objective: ObjectiveSpec = MASK
    minorants: Mapping[int, ConvexFunction] | None = None

    def __repr__(self) -> str:
        rows = f"rows {self.rows.start}:{self.rows.stop}"
        return f"Problem({rows} of {self.layer!r}, {short(self.pattern.text)})"

    @staticmethod
    def of(
        layer: Layer,
        pattern: Pattern,
        rows: range | None = None,
        start: Kept | None = None,
        objective: ObjectiveSpec = MASK,
    ) -> "Problem":
        """A validated problem; all rows when none are named. Raises InputError."""
        chosen = range(layer.d_out) if rows is None else rows
        if not 0 <= chosen.start < chosen.stop <= layer.d_out:
            raise InputError(
                f"{layer.name}: rows {chosen.start}:{chosen.stop} are not within its "
                f"{layer.d_out} rows; write A:B with 0 <= A < B <= {layer.d_out}"
            )
        problem = Problem(layer, pattern, chosen, start, objective)
        problem._require_range()
        try:
            problem._require_masks()
        except InputError as error:
            raise InputError(f"{layer.name}: {error}") from None
        if start is not None and not (
            start.shape == layer.weight.shape
            and problem.is_legal(Kept(start[chosen.start : chosen.stop]))
        ):
            raise InputError(
                f"{layer.name}: the start mask does not meet pattern '{pattern.text}' "
                f"on rows {chosen.start}:{chosen.stop}"
            )
        return problem

    def under(self, objective: ObjectiveSpec) -> "Problem":
        """The same rows under another objective.

        Raises InputError where the data do not allow it.
        """
        if objective == self.objective:
            return self
        problem = replace(self, objective=objective)
        problem._require_range()
        return problem

    def _require_range(self) -> None:
        """Raise InputError where losses leave float64, or refitted weights are not determined."""
        diagonal = self.layer.gram.diagonal()
        if self.objective.refits:
            hessian = Hessian.of(self.layer, self.objective.ridge)
            hessian.require_definite()
            diagonal = hessian.diagonal
        require_range(self.layer, self.rows, diagonal)

    def _require_masks(self) -> None:
        """Raise InputError where the pattern does not fit the layer or leaves a part no mask."""
        parts = self if self._masks.own else [self.part_of(self.rows.start)]
        for part in parts:
            if part.legal.equal_groups is not None:
                return  # they always have a mask
            if part.legal.minimise(np.zeros(part.n)) is None:
                raise InputError(f"row {part.row}: no mask meets all of '{self.pattern.text}'")

    def is_legal(self, masks: Kept) -> bool:
        """Whether masks (rows, d_in) are legal."""
        groups = self.pattern.row_groups(self.layer.d_in)
        if groups is not None:
            return groups.is_legal(masks)
        return all(part.legal.is_legal(self.of_part(masks, part)) for part in self)

    def of_part(self, masks: Kept, part: Part) -> Kept:
        """The mask (n,) of a part among masks (rows, d_in), its rows end to end."""
        top = part.row - self.rows.start
        return Kept(masks[top : top + part.height].reshape(-1))

    @property
    def groups(self) -> BudgetGroups:
        """Budget groups of each row. Raises Refused for a pattern of another kind."""
        groups = self.pattern.row_groups(self.layer.d_in)
        if groups is None:
            raise Refused(f"it takes a budget a row or N:M, not '{self.pattern.text}'")
        return groups

    @property
    def weight(self) -> Matrix:
        """(rows, d_in) float64 weights of the chosen rows."""
        return self.layer.weight[self.rows.start : self.rows.stop]

    def losses(self, masks: Kept, gram: Matrix | None = None) -> Vector:
        """(rows,) losses of masks (rows, n); `gram` replaces the layer's, as in `Part.loss`.

        Those of `Part.loss` up to rounding, by products of blocks of rows with the Gram: no
        part of it is copied, which for one row after another would take n^2 numbers each time.
        """
        if self.objective.refits:
            return Hessian.of(self.layer, self.objective.ridge).losses(self.weight, masks, gram)
        matrix, exponent = self.layer.gram_unit if gram is None else (gram, 0)
        return change_errors(matrix, np.where(masks, 0.0, self.weight), exponent)

    def refitted(self, masks: Kept, solves: Solves = AUTO) -> Matrix:
        """(rows, d_in) weights re-optimised for masks alike, 0 where pruned, as in `Part.refitted`.

        solves: in which way, and on which device (`instances.refit`).
        Raises Refused under another objective than refit.
        """
        if not self.objective.refits:
            raise Refused("it re-optimises kept weights; ask for objective refit")
        hessian = Hessian.of(self.layer, self.objective.ridge)
        return np.where(masks, self.weight - hessian.changes(self.weight, masks, solves), 0.0)

    @cached_property
    def digest(self) -> str:
        """sha256 of weights, Gram, budgets and ridge, if any: the identity of all rows together."""
        groups = self.pattern.row_groups(self.layer.d_in)
        masks = ":".join(part.legal.identity for part in self) if groups is None else str(groups)
        text = f"{array_digest(self.weight)}:{self.layer.gram_digest}:{masks}"
        return identity_under(self.objective, text)

    @cached_property
    def height(self) -> int:
        """Rows of each part. Raises InputError where they do not divide the rows."""
        return self.pattern.part_rows(self.rows)

    def part_of(self, row: int) -> Part:
        """The part that a row is in, by its 0-based number in the layer."""
        top = row - (row - self.rows.start) % self.height
        start = None
        if self.start is not None:
            start = Kept(self.start[top : top + self.height].reshape(-1))
        return Part(
            self.layer,
            top,
            self.pattern.text,
            self._masks.of(top),
            start,
            self.height,
            self.objective,
            None if self.minorants is None else self.minorants.get(top),
        )

    @cached_property
    def _masks(self) -> PartMasks:
        return self.pattern.masks(self.layer, self.height)

    def __iter__(self) -> Iterator[Part]:
        return (self.part_of(row) for row in range(self.rows.start, self.rows.stop, self.height))

    def __len__(self) -> int:
        """Number of parts."""
        return len(self.rows) // self.height

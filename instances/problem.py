"""Problems: the rows of a layer under a pattern, and one such row as a binary quadratic problem.

For one row w, with z = 1 on the pruned columns,

    L(z) = (w * z)^T G (w * z) = z^T Q z,   Q = diag(w) G diag(w)   (positive semidefinite),

minimised over the legal pruned sets of the row's budget groups. Native solvers have absolute
tolerances and lie at small scales, so Q is handed out divided by a power of two that brings its
mean diagonal into [1/2, 1); dividing by a power of two rounds nothing, and values are multiplied
back once, by `rescale`. The objective of a mask is always recomputed from w, G and the mask; it is
a squared norm, so a negative value (a Gram indefinite by rounding) counts as 0.
"""

import hashlib
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property

import numpy as np

from instances.errors import InputError
from instances.groups import BudgetGroups, Mask, Matrix, Vector
from instances.layer import Layer, array_digest, unit_exponent
from instances.patterns import Pattern

LOSS_ROWS = 256
"""Rows whose losses are found by one product with the Gram."""


@dataclass(frozen=True, eq=False)
class RowProblem:
    """One row of a layer under a pattern.

    layer, row: which row. pattern: its text. groups: its budget groups. start: a legal mask (n,)
    to start from, True = kept, or None.
    """

    layer: Layer
    row: int
    pattern: str
    groups: BudgetGroups
    start: Mask | None = None

    @property
    def n(self) -> int:
        """Number of columns."""
        return self.layer.d_in

    @property
    def weight(self) -> Vector:
        """(n,) float64 weights of the row."""
        row: Vector = self.layer.weight[self.row]
        return row

    @cached_property
    def _scaled(self) -> tuple[Matrix, int]:
        gram, gram_exponent = self.layer.gram_unit
        weight_exponent = unit_exponent(float(np.abs(self.weight).max()))
        weight = np.ldexp(self.weight, -weight_exponent)
        quad = np.outer(weight, weight) * gram  # symmetric to the last bit
        exponent = unit_exponent(float(quad.diagonal().mean()))
        return np.ldexp(quad, -exponent), 2 * weight_exponent + gram_exponent + exponent

    @property
    def quad(self) -> Matrix:
        """(n, n) float64 symmetric Q / 2^exponent, mean diagonal in [1/2, 1) unless Q = 0."""
        return self._scaled[0]

    @property
    def exponent(self) -> int:
        """The power of two that Q was divided by."""
        return self._scaled[1]

    def rescale(self, scaled: float) -> float:
        """A value of the scaled problem in units of the layer's loss."""
        return float(np.ldexp(scaled, self.exponent))

    def scaled_loss(self, mask: Mask) -> float:
        """The loss of a mask (True = kept) in units of `quad`."""
        pruned = ~mask
        return max(0.0, float(self.quad[np.ix_(pruned, pruned)].sum()))

    def loss(self, mask: Mask, gram: Matrix | None = None) -> float:
        """The loss r G r^T in float64 of a mask (n,), True = kept; `gram` replaces the layer's."""
        matrix, exponent = self.layer.gram_unit if gram is None else (gram, 0)
        pruned = ~mask
        weight_exponent = unit_exponent(float(np.abs(self.weight).max()))
        rest = np.ldexp(self.weight[pruned], -weight_exponent)
        value = float(rest @ matrix[np.ix_(pruned, pruned)] @ rest)
        return max(0.0, float(np.ldexp(value, 2 * weight_exponent + exponent)))

    @cached_property
    def digest(self) -> str:
        """sha256 of weights, Gram and budgets: the identity of the problem."""
        budgets = f"{self.groups.n}/{self.groups.size}/{self.groups.pruned}"
        text = f"{array_digest(self.weight)}:{self.layer.gram_digest}:{budgets}"
        return hashlib.sha256(text.encode()).hexdigest()


@dataclass(frozen=True, eq=False)
class Problem:
    """A half-open range of rows of a layer under a pattern.

    start: masks (d_out, d_in) to start from, or None; rows outside `rows` are not looked at.
    """

    layer: Layer
    pattern: Pattern
    rows: range
    start: Mask | None = None

    @staticmethod
    def of(
        layer: Layer, pattern: Pattern, rows: range | None = None, start: Mask | None = None
    ) -> "Problem":
        """A validated problem; all rows when none are named. Raises InputError."""
        chosen = range(layer.d_out) if rows is None else rows
        if not 0 <= chosen.start < chosen.stop <= layer.d_out:
            raise InputError(
                f"{layer.name}: rows {chosen.start}:{chosen.stop} are not within its "
                f"{layer.d_out} rows; write A:B with 0 <= A < B <= {layer.d_out}"
            )
        try:
            groups = pattern.groups(layer.d_in)
        except InputError as error:
            raise InputError(f"{layer.name}: {error}") from None
        if start is not None and (
            start.shape != layer.weight.shape
            or not groups.is_legal(start[chosen.start : chosen.stop])
        ):
            raise InputError(
                f"{layer.name}: the start mask does not meet pattern '{pattern.text}' "
                f"on rows {chosen.start}:{chosen.stop}"
            )
        return Problem(layer, pattern, chosen, start)

    @property
    def groups(self) -> BudgetGroups:
        """Budget groups of each row."""
        return self.pattern.groups(self.layer.d_in)

    @property
    def weight(self) -> Matrix:
        """(rows, d_in) float64 weights of the chosen rows."""
        return self.layer.weight[self.rows.start : self.rows.stop]

    def losses(self, masks: Mask, gram: Matrix | None = None) -> Vector:
        """(rows,) losses of masks (rows, n), True = kept; `gram` replaces the layer's.

        Those of `RowProblem.loss` up to rounding, by products of blocks of rows with the Gram: no
        part of it is copied, which for one row after another would take n^2 numbers each time.
        """
        matrix, exponent = self.layer.gram_unit if gram is None else (gram, 0)
        values = np.empty(len(self))
        for top in range(0, len(self), LOSS_ROWS):
            part = slice(top, top + LOSS_ROWS)
            weight = self.weight[part]
            _, exponents = np.frexp(np.abs(weight).max(axis=1))
            rest = np.where(masks[part], 0.0, np.ldexp(weight, -exponents[:, None]))
            unit = np.einsum("ij,ij->i", rest @ matrix, rest)
            values[part] = np.ldexp(unit, 2 * exponents + exponent)
        return np.maximum(0.0, values)

    @cached_property
    def digest(self) -> str:
        """sha256 of the rows' weights, Gram and budgets: the identity of all rows together."""
        text = f"{array_digest(self.weight)}:{self.layer.gram_digest}:{self.groups}"
        return hashlib.sha256(text.encode()).hexdigest()

    def row(self, row: int) -> RowProblem:
        """The problem of one row, by its 0-based number in the layer."""
        start = None if self.start is None else self.start[row]
        return RowProblem(self.layer, row, self.pattern.text, self.groups, start)

    def __iter__(self) -> Iterator[RowProblem]:
        return (self.row(row) for row in self.rows)

    def __len__(self) -> int:
        return len(self.rows)

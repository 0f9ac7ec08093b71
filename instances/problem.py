"""Problems: rows of a layer under a pattern, and one part of them as a binary quadratic problem.

For one row w, with z = 1 on the pruned columns,

    L(z) = (w * z)^T G (w * z) = z^T Q z,   Q = diag(w) G diag(w)   (positive semidefinite),

minimised over the legal pruned sets of the row. Where the pattern couples rows, they are one part:
laid end to end, z is all of theirs and Q is block diagonal. Native solvers have absolute
tolerances and lie at small scales, so Q is handed out divided by a power of two that brings its
mean diagonal into [1/2, 1); dividing by a power of two rounds nothing, and values are multiplied
back once, by `rescale`. A row's loss is a squared norm, so a negative value (a Gram indefinite by
rounding) counts as 0.

Range. The largest w_j^2 G_jj of a row must lie within powers of two that leave room in float64 for
sums of n^2 such products and for what is far below them; a row beyond is refused in words.
"""

import hashlib
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from math import fsum

import numpy as np
import scipy.linalg

from maskgap.instances.arrays import Kept, Matrix, Vector, pruned_of
from maskgap.instances.errors import InputError, Refused
from maskgap.instances.layer import Layer, array_digest, short, unit_exponent
from maskgap.instances.masks.groups import BudgetGroups
from maskgap.instances.masks.pattern import PartMasks, Pattern
from maskgap.instances.masks.protocol import MaskSet

LOSS_ROWS = 256
"""Rows whose losses are found by one product with the Gram."""


LARGEST_POWER, LEAST_POWER = 950, -900
"""Binary exponents of the largest product of a row."""

OFF_DIAGONAL = 40
"""Binary orders by which an entry of Q may exceed its mean diagonal before the scale is its own."""

LARGEST_PART = 8192
"""Columns of a part of several rows whose Q is formed; 8192 are 512 MiB."""


@dataclass(frozen=True, eq=False, repr=False)
class Part:
    """One row of a layer under a pattern, or the rows of one part laid end to end.

    layer, row: which row, the first of the part. pattern: its text. legal: its legal masks. start:
    a legal mask (n,) to start from, or None. height: rows of the part.
    """

    layer: Layer
    row: int
    pattern: str
    legal: MaskSet
    start: Kept | None = None
    height: int = 1

    def __repr__(self) -> str:
        name = f"row {self.row}" if self.height == 1 else f"rows {self.row}:{self.rows.stop}"
        return f"Part({name} of {short(self.layer.name)}, {short(self.pattern)})"

    @property
    def n(self) -> int:
        """Number of columns, of all rows together."""
        return self.height * self.layer.d_in

    @property
    def rows(self) -> range:
        """The rows of the part, by their numbers in the layer."""
        return range(self.row, self.row + self.height)

    @property
    def groups(self) -> BudgetGroups:
        """Its budget groups. Raises Refused where the masks are others than those of equal groups.

        What needs no more than `legal` asks for that instead.
        """
        groups = self.legal.equal_groups
        if groups is None:
            raise Refused(f"it takes budgets of equal groups of columns, not '{self.pattern}'")
        return groups

    @property
    def weight(self) -> Vector:
        """(n,) float64 weights."""
        rows: Vector = self.layer.weight[self.row : self.row + self.height].reshape(-1)
        return rows

    @cached_property
    def _scaled(self) -> tuple[Matrix, int]:
        if self.height > 1 and self.n > LARGEST_PART:
            raise Refused(
                f"it needs a matrix of all pairs of the {self.n} weights that '{self.pattern}' "
                f"couples, at most {LARGEST_PART}; choose fewer --rows"
            )
        gram, gram_exponent = self.layer.gram_unit
        weight_exponent = unit_exponent(float(np.abs(self.weight).max()))
        weight = np.ldexp(self.weight, -weight_exponent).reshape(self.height, -1)
        quads = [np.outer(row, row) * gram for row in weight]  # symmetric to the last bit
        quad = quads[0] if self.height == 1 else scipy.linalg.block_diag(*quads)
        # a Gram that is indefinite by its tolerance may have entries far above the diagonal
        largest = np.ldexp(float(np.abs(quad).max()), -OFF_DIAGONAL)
        exponent = unit_exponent(max(float(quad.diagonal().mean()), float(largest)))
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

    def scaled_loss(self, mask: Kept) -> float:
        """The loss of a mask in units of `quad`."""
        pruned = pruned_of(mask)
        return max(0.0, float(self.quad[np.ix_(pruned, pruned)].sum()))

    def loss(self, mask: Kept, gram: Matrix | None = None) -> float:
        """The loss r G r^T in float64 of a mask (n,); `gram` replaces the layer's."""
        return fsum(self.row_losses(mask, gram))

    def row_losses(self, mask: Kept, gram: Matrix | None = None) -> list[float]:
        """The loss of each row of the part."""
        matrix, exponent = self.layer.gram_unit if gram is None else (gram, 0)
        found = []
        shape = (self.height, -1)
        pruned_sets = pruned_of(mask).reshape(shape)
        for weight, pruned in zip(self.weight.reshape(shape), pruned_sets, strict=True):
            weight_exponent = unit_exponent(float(np.abs(weight).max()))
            rest = np.ldexp(weight[pruned], -weight_exponent)
            value = float(rest @ matrix[np.ix_(pruned, pruned)] @ rest)
            found.append(max(0.0, float(np.ldexp(value, 2 * weight_exponent + exponent))))
        return found

    @cached_property
    def digest(self) -> str:
        """sha256 of weights, Gram and legal masks: the identity of the problem."""
        text = f"{array_digest(self.weight)}:{self.layer.gram_digest}:{self.legal.identity}"
        return hashlib.sha256(text.encode()).hexdigest()


@dataclass(frozen=True, eq=False, repr=False)
class Problem:
    """A half-open range of rows of a layer under a pattern.

    start: masks (d_out, d_in) to start from, or None; rows outside `rows` are not looked at.
    """

    layer: Layer
    pattern: Pattern
    rows: range
    start: Kept | None = None

    def __repr__(self) -> str:
        rows = f"rows {self.rows.start}:{self.rows.stop}"
        return f"Problem({rows} of {self.layer!r}, {short(self.pattern.text)})"

    @staticmethod
    def of(
        layer: Layer, pattern: Pattern, rows: range | None = None, start: Kept | None = None
    ) -> "Problem":
        """A validated problem; all rows when none are named. Raises InputError."""
        chosen = range(layer.d_out) if rows is None else rows
        if not 0 <= chosen.start < chosen.stop <= layer.d_out:
            raise InputError(
                f"{layer.name}: rows {chosen.start}:{chosen.stop} are not within its "
                f"{layer.d_out} rows; write A:B with 0 <= A < B <= {layer.d_out}"
            )
        problem = Problem(layer, pattern, chosen, start)
        _require_range(layer, chosen)
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
        """(rows,) losses of masks (rows, n); `gram` replaces the layer's.

        Those of `Part.loss` up to rounding, by products of blocks of rows with the Gram: no
        part of it is copied, which for one row after another would take n^2 numbers each time.
        """
        matrix, exponent = self.layer.gram_unit if gram is None else (gram, 0)
        values = np.empty(len(self.rows))
        for top in range(0, len(self.rows), LOSS_ROWS):
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
        groups = self.pattern.row_groups(self.layer.d_in)
        masks = ":".join(part.legal.identity for part in self) if groups is None else str(groups)
        text = f"{array_digest(self.weight)}:{self.layer.gram_digest}:{masks}"
        return hashlib.sha256(text.encode()).hexdigest()

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
        return Part(self.layer, top, self.pattern.text, self._masks.of(top), start, self.height)

    @cached_property
    def _masks(self) -> PartMasks:
        return self.pattern.masks(self.layer, self.height)

    def __iter__(self) -> Iterator[Part]:
        return (self.part_of(row) for row in range(self.rows.start, self.rows.stop, self.height))

    def __len__(self) -> int:
        """Number of parts."""
        return len(self.rows) // self.height


def _require_range(layer: Layer, rows: range) -> None:
    """Raise InputError for a row whose products leave the range of float64."""
    diagonal = layer.gram.diagonal()
    live = diagonal > 0.0
    _, powers = np.frexp(diagonal[live])
    for top in range(rows.start, rows.stop, LOSS_ROWS):
        weight = layer.weight[top : min(top + LOSS_ROWS, rows.stop), live]
        _, own = np.frexp(weight)
        products = np.where(weight != 0.0, 2 * own + powers, -(1 << 20))
        largest = products.max(axis=1, initial=-(1 << 20))
        beyond = (largest > LARGEST_POWER) | ((largest < LEAST_POWER) & (largest > -(1 << 20)))
        if beyond.any():
            place = int(np.flatnonzero(beyond)[0])
            raise InputError(
                f"{layer.name}: row {top + place}: its largest product w^2 G is about "
                f"2^{largest[place]}, and float64 has room for 2^{LEAST_POWER} to "
                f"2^{LARGEST_POWER}; multiply weight or gram by a constant"
            )

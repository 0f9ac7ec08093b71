"""One part of a problem: a row of a layer under a pattern as a binary quadratic problem.

For one row w, with z = 1 on the pruned columns,

    L(z) = (w * z)^T G (w * z) = z^T Q z,   Q = diag(w) G diag(w)   (positive semidefinite),

minimised over the legal pruned sets of the row. Where the pattern couples rows, they are one part:
laid end to end, z is all of theirs and Q is block diagonal. Native solvers have absolute
tolerances and lie at small scales, so Q is handed out divided by a power of two that brings its
mean diagonal into [1/2, 1); dividing by a power of two rounds nothing, and values are multiplied
back once, by `rescale`. A row's loss is a squared norm, so a negative value (a Gram indefinite by
rounding) counts as 0.

Under the objective refit (`instances.objective`) the loss of z is

    g(z) = min over x, x_j = 0 where z_j = 1, of (x - w)^T H (x - w),

and H and w are handed out divided by powers of two in place of Q; so is g, by `rescale`. A weight
of 0 then is not free to prune: a kept one would be re-optimised.
"""

import hashlib
from dataclasses import dataclass, replace
from functools import cached_property
from math import fsum

import numpy as np
import scipy.linalg

from maskgap.instances.arrays import Kept, Matrix, Vector, pruned_of
from maskgap.instances.change import change_errors
from maskgap.instances.convex_function import ConvexFunction
from maskgap.instances.errors import Refused
from maskgap.instances.hessian import Hessian
from maskgap.instances.layer import Layer, array_digest, short, unit_exponent
from maskgap.instances.masks.groups import BudgetGroups
from maskgap.instances.masks.protocol import MaskSet
from maskgap.instances.objective import MASK, ObjectiveSpec
from maskgap.instances.refit import changes, refit

OFF_DIAGONAL = 40
"""Binary orders by which an entry of Q may exceed its mean diagonal before the scale is its own."""

LARGEST_PART = 8192
"""Columns of a part of several rows whose Q is formed; 8192 are 512 MiB."""


@dataclass(frozen=True, eq=False, repr=False)
class Part:
    """One row of a layer under a pattern, or the rows of one part laid end to end.

    layer, row: which row, the first of the part. pattern: its text. legal: its legal masks. start:
    a legal mask (n,) to start from, or None. height: rows of the part. objective: what is
    minimised. minorant: a convex function that is said to be at most the mask loss on its masks,
    from an earlier run, to start from; None without one.
    """

    layer: Layer
    row: int
    pattern: str
    legal: MaskSet
    start: Kept | None = None
    height: int = 1
    objective: ObjectiveSpec = MASK
    minorant: ConvexFunction | None = None

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

    def under(self, objective: ObjectiveSpec) -> "Part":
        """The same part under another objective, which `Problem.under` has looked at."""
        return replace(self, objective=objective)

    @cached_property
    def _scaled(self) -> tuple[Matrix, int]:
        if self.objective.refits:
            raise Refused("it takes the loss of a mask, and kept weights are re-optimised here")
        self._require_pairs()
        gram, gram_exponent = self.layer.gram_unit
        weight_exponent = unit_exponent(float(np.abs(self.weight).max()))
        weight = np.ldexp(self.weight, -weight_exponent).reshape(self.height, -1)
        quads = [np.outer(row, row) for row in weight]
        for quad in quads:
            quad *= gram  # symmetric to the last bit; in place, as wide ones take long to allocate
        quad = quads[0] if self.height == 1 else scipy.linalg.block_diag(*quads)
        # a Gram that is indefinite by its tolerance may have entries far above the diagonal
        largest = np.ldexp(max(float(quad.max()), -float(quad.min())), -OFF_DIAGONAL)
        exponent = unit_exponent(max(float(quad.diagonal().mean()), float(largest)))
        np.ldexp(quad, -exponent, out=quad)
        return quad, 2 * weight_exponent + gram_exponent + exponent

    def _require_pairs(self) -> None:
        """Raise Refused where a matrix of all pairs of columns would be too large."""
        if self.height > 1 and self.n > LARGEST_PART:
            raise Refused(
                f"it needs a matrix of all pairs of the {self.n} weights that '{self.pattern}' "
                f"couples, at most {LARGEST_PART}; choose fewer --rows"
            )

    @property
    def quad(self) -> Matrix:
        """(n, n) float64 symmetric Q / 2^exponent, mean diagonal in [1/2, 1) unless Q = 0.

        Raises Refused under refit, which has `hessian` and `target` instead.
        """
        return self._scaled[0]

    @cached_property
    def _hessian(self) -> Hessian:
        if not self.objective.refits:
            raise Refused("it re-optimises kept weights; ask for objective refit")
        return Hessian.of(self.layer, self.objective.ridge)

    @cached_property
    def hessian(self) -> Matrix:
        """(n, n) float64 H / 2^e, block diagonal for several rows. Raises Refused under mask."""
        self._require_pairs()
        unit, _ = self._hessian.unit
        return unit if self.height == 1 else scipy.linalg.block_diag(*[unit] * self.height)

    @cached_property
    def _target_exponent(self) -> int:
        return unit_exponent(float(np.abs(self.weight).max()))

    @cached_property
    def target(self) -> Vector:
        """(n,) w / 2^f, the largest |w_j| in [1/2, 1)."""
        scaled: Vector = np.ldexp(self.weight, -self._target_exponent)
        return scaled

    @property
    def exponent(self) -> int:
        """The power of two that Q was divided by; under refit that of g, which is e + 2 f."""
        if self.objective.refits:
            return self._hessian.unit[1] + 2 * self._target_exponent
        return self._scaled[1]

    def rescale(self, scaled: float) -> float:
        """A value of the scaled problem in units of the layer's loss."""
        return float(np.ldexp(scaled, self.exponent))

    def scaled_loss(self, mask: Kept) -> float:
        """The loss of a mask in units of `quad`; under refit in those of `hessian` and `target`."""
        if self.objective.refits:
            matrix, _ = self._hessian.unit
            return fsum(change_errors(matrix, changes(matrix, *self._by_row(mask))).tolist())
        pruned = pruned_of(mask)
        return max(0.0, float(self.quad[np.ix_(pruned, pruned)].sum()))

    def refitted(self, mask: Kept) -> Vector:
        """(n,) the weights re-optimised for a mask, in units of the layer's, 0 where pruned.

        Raises Refused under mask.
        """
        found = refit(self._hessian.unit[0], *self._by_row(mask)).reshape(-1)
        weights: Vector = np.ldexp(found, self._target_exponent)
        return weights

    def _by_row(self, mask: Kept) -> tuple[Matrix, Kept]:
        shape = (self.height, -1)
        return self.target.reshape(shape), Kept(mask.reshape(shape))

    def loss(self, mask: Kept, gram: Matrix | None = None) -> float:
        """The loss in float64 of a mask (n,): r G r^T, or g.

        gram: replaces the layer's G, and under refit H where it multiplies the change of the
        weights, which stay those re-optimised under H.
        """
        return fsum(self.row_losses(mask, gram))

    def row_losses(self, mask: Kept, gram: Matrix | None = None) -> list[float]:
        """The loss of each row of the part."""
        shape = (self.height, -1)
        if self.objective.refits:
            kept = Kept(mask.reshape(shape))
            return list(self._hessian.losses(self.weight.reshape(shape), kept, gram).tolist())
        matrix, exponent = self.layer.gram_unit if gram is None else (gram, 0)
        found = []
        pruned_sets = pruned_of(mask).reshape(shape)
        for weight, pruned in zip(self.weight.reshape(shape), pruned_sets, strict=True):
            weight_exponent = unit_exponent(float(np.abs(weight).max()))
            rest = np.ldexp(weight[pruned], -weight_exponent)
            value = float(rest @ matrix[np.ix_(pruned, pruned)] @ rest)
            found.append(max(0.0, float(np.ldexp(value, 2 * weight_exponent + exponent))))
        return found

    @cached_property
    def digest(self) -> str:
        """sha256 of weights, Gram, legal masks and ridge, if any: the identity of the problem."""
        text = f"{array_digest(self.weight)}:{self.layer.gram_digest}:{self.legal.identity}"
        return identity_under(self.objective, text)


def identity_under(objective: ObjectiveSpec, text: str) -> str:
    """sha256 of a text that tells a problem, and of the ridge under an objective that has one."""
    own = f"{text}:refit {objective.ridge.hex()}" if objective.refits else text
    return hashlib.sha256(own.encode()).hexdigest()

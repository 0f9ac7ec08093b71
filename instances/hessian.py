"""The matrix H of the refit objective: a Gram whose diagonal has a ridge.

    H_ij = G_ij (i != j),    H_jj = fl(G_jj + lambda),    lambda = fl(ridge * fl(sum_j G_jj / n))

with the sum rounded once (`fsum`) before it is divided. These float64 numbers are what is solved
and certified, as they stand. H must be positive definite, for else what is lost by a mask has no
least value or many minimisers: `instances.definite` shows a lower bound on its least eigenvalue.
For a ridge, H - s I with s = lambda / 2 is tried first, which holds wherever G is semidefinite by
rounding; one factorisation shows it. There is one object a layer and ridge.
"""

import hashlib
from collections.abc import Iterable
from dataclasses import dataclass
from functools import cached_property
from math import fsum, isfinite, ldexp, nextafter
from weakref import WeakKeyDictionary

import numpy as np

from maskgap.instances.arrays import Kept, Matrix, Vector
from maskgap.instances.change import change_errors
from maskgap.instances.definite import UNIT, defect, least_eigenvalue
from maskgap.instances.errors import InputError
from maskgap.instances.layer import Layer, correlation_of, unit_exponent, unit_rows
from maskgap.instances.refit import AUTO, Solves, changes

_known: "WeakKeyDictionary[Layer, dict[float, Hessian]]" = WeakKeyDictionary()


@dataclass(frozen=True, eq=False, repr=False)
class Hessian:
    """H of a layer and a ridge. name: of the layer, for errors. gram: (n, n), the layer's.

    gram_digest: of the Gram. gram_roundoff: unit roundoff of what the Gram was stored in.
    """

    name: str
    gram: Matrix
    ridge: float
    gram_digest: str
    gram_roundoff: float

    def __repr__(self) -> str:
        return f"Hessian({len(self.gram)} columns, ridge {self.ridge!r})"

    @staticmethod
    def of(layer: Layer, ridge: float) -> "Hessian":
        """The one of a layer and a ridge, which is made when first asked for."""
        own = _known.setdefault(layer, {})
        if ridge not in own:
            own[ridge] = Hessian(
                layer.name, layer.gram, ridge, layer.gram_digest, layer.gram_roundoff
            )
        return own[ridge]

    @cached_property
    def shift(self) -> float:
        """lambda, in units of G."""
        return self.ridge * (fsum(self.gram.diagonal().tolist()) / len(self.gram))

    @cached_property
    def diagonal(self) -> Vector:
        """(n,) H_jj."""
        values: Vector = self.gram.diagonal() + self.shift
        return values

    @cached_property
    def unit(self) -> tuple[Matrix, int]:
        """(H / 2^e, e) with the largest diagonal entry in [1/2, 1); e = 0 for a zero matrix."""
        exponent = unit_exponent(float(self.diagonal.max()))
        scaled = np.ldexp(self.gram, -exponent)
        scaled[np.diag_indices(len(scaled))] = np.ldexp(self.diagonal, -exponent)
        return scaled, exponent

    def block(self, rows: Iterable[int], columns: Iterable[int]) -> Matrix:
        """The entries of H at some rows and columns, not scaled."""
        rows, columns = np.fromiter(rows, np.intp), np.fromiter(columns, np.intp)
        part: Matrix = self.gram[np.ix_(rows, columns)]  # a copy
        here = rows[:, None] == columns[None, :]
        part[here] = np.broadcast_to(self.diagonal[rows][:, None], part.shape)[here]
        return part

    @cached_property
    def least(self) -> float:
        """A number that the least eigenvalue of H / 2^e is at least, in exact arithmetic."""
        unit, exponent = self.unit
        shift = ldexp(0.5 * self.shift, -exponent)
        if shift > 0.0:
            moved = unit.copy()
            moved[np.diag_indices(len(moved))] -= shift
            # entries are at most about 1, and so is what the diagonal lost by rounding
            found = nextafter(shift - 1.01 * (defect(moved) + UNIT), 0.0)
            if found > 0.0:
                return found
        return least_eigenvalue(unit).low

    def require_definite(self) -> None:
        """Raise InputError where H is not shown to be positive definite within float64."""
        if not (isfinite(self.shift) and bool(np.isfinite(self.diagonal).all())):
            raise InputError(
                f"{self.name}: gram with ridge {self.ridge:g} leaves the range of float64"
            )
        if not self.least > 0.0:
            given = f"with ridge {self.ridge:g} " if self.ridge else "without a ridge "
            raise InputError(
                f"{self.name}: gram {given}is not positive definite as far as float64 shows, so "
                "refitted weights are not determined; give a larger ridge, such as "
                f"{max(0.01, 10.0 * self.ridge):g}"
            )

    def losses(self, weight: Matrix, kept: Kept, gram: Matrix | None = None) -> Vector:
        """(rows,) float64 losses of rows of weights (rows, n) under masks alike, re-optimised by H.

        gram: (n, n), multiplies the change of the weights in place of H; None: H.
        """
        matrix, exponent = self.unit if gram is None else (gram, 0)
        return change_errors(matrix, self.changes(weight, kept), exponent)

    def changes(self, weight: Matrix, kept: Kept, solves: Solves = AUTO) -> Matrix:
        """(rows, n) w - x, in units of the weights: exactly w where pruned."""
        rows, exponents = unit_rows(weight)
        deltas = changes(self.unit[0], rows, kept, solves)
        return np.where(kept, np.ldexp(deltas, exponents[:, None]), weight)

    @cached_property
    def correlation(self) -> float:
        """A number c with |H_ij| <= c sqrt(H_ii H_jj) everywhere, infinite where there is none."""
        return correlation_of(self.unit[0])

    @cached_property
    def digest(self) -> str:
        """sha256 of Gram and ridge: the identity of H."""
        return hashlib.sha256(f"{self.gram_digest}:ridge {self.ridge.hex()}".encode()).hexdigest()

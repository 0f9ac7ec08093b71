"""The inverse Hessian that second-order pruning needs, as a triangular factor.

The layer error as a function of the kept weights has, up to a factor, the Hessian

    H = G + damping mean(diag G) I      (Optimal Brain Surgeon, with a damping against singular G)

It is given as the upper triangular U with H^-1 = U^T U and a positive diagonal. Then

    [H^-1]_jj = sum_i U_ij^2,       U_jj^2 = [ (H restricted to the columns j, j+1, ...)^-1 ]_jj.

With J the reversal of the columns and J H J = L L^T, U = J L^-1 J: H itself is factorised, never
its inverse, whose rounding the second factorisation would meet.

Columns whose inputs are all zero have no part in it: their mean(diag G) is not counted, and U is
the identity there. Under the objective refit H is that of the objective, as it stands: its ridge
takes the place of the damping, and a column without inputs is one like the others.
"""

from dataclasses import dataclass

import numpy as np
import scipy.linalg.lapack

from maskgap.instances.arrays import Flags, Matrix, Vector
from maskgap.instances.errors import Refused
from maskgap.instances.hessian import Hessian
from maskgap.instances.layer import Layer
from maskgap.instances.problem import Problem

DAMPING = 0.01
ESCALATIONS = 6
PIVOT = 1e-12
"""Below this share of the largest diagonal, a pivot is rounding noise and H counts as singular."""


@dataclass(frozen=True, eq=False)
class InverseHessian:
    """H^-1 = U^T U of a layer whose Gram is scaled by a power of two.

    upper: U (n, n) float64. live: (n,) bool, columns with inputs other than zero. damping: the one
    used, as a share of the mean diagonal.
    """

    upper: Matrix
    live: Flags
    damping: float

    @staticmethod
    def of(layer: Layer, damping: float = DAMPING) -> "InverseHessian":
        """Factorise; when H is numerically singular the damping is raised and said.

        It is raised tenfold, to 1e-7 at least, at most ESCALATIONS times. Damping 0 is never
        raised. Raises Refused when H stays singular.
        """
        gram, _ = layer.gram_unit
        live = gram.diagonal() > 0
        upper = np.eye(layer.d_in)
        if not live.any():
            return InverseHessian(upper, live, damping)
        inner = gram[np.ix_(live, live)]
        mean = float(inner.diagonal().mean())
        for _ in range(ESCALATIONS + 1):
            hessian = inner + damping * mean * np.eye(len(inner))
            inverse = _upper(hessian, PIVOT)
            if inverse is not None:
                upper[np.ix_(live, live)] = inverse
                return InverseHessian(upper, live, damping)
            if damping == 0:
                break
            damping = max(damping, 1e-8) * 10
        raise Refused(
            f"{layer.name}: the Gram plus damping {damping:g} of its mean diagonal is singular; "
            "set a larger damping"
        )

    @staticmethod
    def under(problem: Problem, damping: float = DAMPING) -> "InverseHessian":
        """That of a problem: under refit of its objective's H, where `damping` has no say.

        Raises Refused where H is singular as far as float64 shows.
        """
        if not problem.objective.refits:
            return InverseHessian.of(problem.layer, damping)
        ridge = problem.objective.ridge
        hessian, _ = Hessian.of(problem.layer, ridge).unit
        upper = _upper(hessian, 0.0)
        if upper is None:
            raise Refused(
                f"{problem.layer.name}: the Gram plus ridge {ridge:g} of its mean diagonal is "
                "singular; set a larger ridge"
            )
        return InverseHessian(upper, np.ones(problem.layer.d_in, dtype=bool), ridge)

    def diagonal(self) -> Vector:
        """[H^-1]_jj (n,) float64."""
        squares: Vector = (self.upper**2).sum(axis=0)
        return squares


def _upper(hessian: Matrix, pivot: float) -> Matrix | None:
    """U (n, n) of H, or None where a pivot is not above a share of the largest diagonal entry."""
    factor, failed = scipy.linalg.lapack.dpotrf(hessian[::-1, ::-1], lower=1, clean=1)
    if failed or not factor.diagonal().min() ** 2 > pivot * hessian.diagonal().max():
        return None
    inverse, _ = scipy.linalg.lapack.dtrtri(factor, lower=1)
    upper: Matrix = np.ascontiguousarray(inverse[::-1, ::-1])
    return upper

"""The problem over switches alone, of an objective whose separable part is strongly convex.

For a quadratic it is `SwitchedValue`, for another smooth objective that states its diagonal and its
model, `SmoothValue`. The diagonal of a quadratic is the one that is stated or, if that has the
larger sum or none is, the best one of a semidefinite programme; either is lowered until it is shown
that P - Diag(D) is semidefinite.
"""

from dataclasses import dataclass

import numpy as np

from maskgap.instances.arrays import Flags, Matrix, Vector
from maskgap.instances.errors import Refused
from maskgap.solvers.bounds.perspective.diagonals import inverse_diagonal
from maskgap.solvers.bounds.perspective.largest import largest_diagonal, shown_diagonal
from maskgap.solvers.convex.switched.declared import Switches
from maskgap.solvers.convex.switched.smooth_value import Ranged, SmoothValue
from maskgap.solvers.convex.switched.structure import structure
from maskgap.solvers.convex.switched.value import SwitchedQuadratic, SwitchedValue, factored
from maskgap.solvers.convex.watched import Watched
from maskgap.solvers.objectives.convex.quadratic import QuadraticObjective
from maskgap.solvers.oracles.mixed.linear_set import LinearSet
from maskgap.solvers.oracles.mixed.protocol import SetOracle

MOST = 300
"""Variables up to which a semidefinite programme is solved for a diagonal."""


@dataclass(frozen=True, eq=False, slots=True)
class Switched:
    """A problem over switches: its value, their set, and where they are.

    switches: (n,) bool, which of the n variables of the problem they are.
    """

    value: SwitchedValue | SmoothValue
    oracle: SetOracle
    switches: Flags

    def lift(self, z: Vector) -> Vector:
        """(n,) the best point with these switches."""
        x = np.empty(len(self.switches))
        x[self.switches], x[~self.switches] = z, self.value.evaluate(z).x
        return x


def switched(objective: QuadraticObjective, rows: LinearSet, declared: Switches) -> Switched | None:
    """The problem over switches of a quadratic, None where there is none."""
    form, found = objective.quadratic, structure(rows, declared)
    if found is None or form.matrix[found.switches].any():
        return None
    z = found.switches
    hessian, linear = form.matrix[np.ix_(~z, ~z)], form.linear[~z]
    stated = None if objective.diagonal is None else objective.diagonal[~z]
    diagonal = _diagonal(hessian, stated)
    if diagonal is None:
        return None
    value = SwitchedValue(
        SwitchedQuadratic(
            factored(hessian - np.diag(diagonal)), diagonal, -0.5 * linear,
            found.off, found.on, found.switch, form.linear[z], form.constant,
        )
    )  # fmt: skip
    return Switched(value, found.oracle, z)


def smooth_switched(function: Watched, rows: LinearSet, declared: Switches) -> Switched | None:
    """The problem over switches of a smooth f that states its diagonal, None where there is none.

    function: f with its model and diagonal. A diagonal that is not stated truly breaks minorants.
    """
    stated = function.known.diagonal
    found = None if stated is None else structure(rows, declared)
    if stated is None or found is None or not (stated[~found.switches] > 0.0).all():
        return None
    of = Ranged(stated[~found.switches], found.off, found.on, found.switch, found.switches)
    return Switched(SmoothValue(function, of), found.oracle, found.switches)


def _diagonal(hessian: Matrix, stated: Vector | None) -> Vector | None:
    """D > 0 with `hessian` - Diag(D) shown to be semidefinite, of the larger sum; None for none."""
    tried = [] if stated is None or not (stated > 0.0).all() else [stated]
    try:
        small = len(hessian) <= MOST
        tried.append(largest_diagonal(hessian) if small else inverse_diagonal(hessian))
    except Refused:
        pass  # it is not definite: what is stated may be
    shown = (shown_diagonal(hessian, diagonal) for diagonal in tried)
    return max((d for d in shown if d is not None), key=lambda d: float(d.sum()), default=None)

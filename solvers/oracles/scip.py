"""The oracle by SCIP: one model, taken back to its untransformed state before each call.

Building the model anew costs more than a solve. Presolving, symmetry handling and heuristics are
off: on most sets the first relaxation is integral, and each of them costs more than it does. SCIP
uses one thread. An interrupt from the keyboard reaches SCIP itself.
"""

from typing import Any

from pyscipopt import Model
from pyscipopt.scip import PY_SCIP_PARAMSETTING, Expr, Term

from maskgap.instances.arrays import Vector
from maskgap.instances.masks.protocol import MaskSet
from maskgap.solvers.mip.adapter import NATIVE_INFINITY, NativeError, finite, stop_of
from maskgap.solvers.mip.scip_oracle import PARAMETERS, TOLERANCE
from maskgap.solvers.mip.scip_rows import add_rows
from maskgap.solvers.oracles.mixed_integer import Found, MixedIntegerOracle
from maskgap.solvers.protocol import Deadline, Stop

STATUSES = {
    "optimal": Stop.FINISHED,
    "timelimit": Stop.TIME,
    "memlimit": Stop.MEMORY,
    "userinterrupt": Stop.INTERRUPTED,
    "terminate": Stop.INTERRUPTED,
}
"""SCIP's words; 'infeasible' is not among them: it is no end but a node without a mask."""


class ScipOracle(MixedIntegerOracle):
    """Minimum over the legal masks of a node by SCIP."""

    name = "SCIP"
    tolerance = TOLERANCE

    def __init__(self, legal: MaskSet, deadline: Deadline) -> None:
        super().__init__(legal, deadline)
        self._model: Any = Model()
        self._model.hideOutput()
        self._model.setHeuristics(PY_SCIP_PARAMSETTING.OFF)
        self._model.setParams(PARAMETERS)
        self._z = [self._model.addVar(f"z{j}", vtype="B") for j in range(legal.n)]
        add_rows(self._model, self._z, self.rows)

    def solve(self, cost: Vector, lower: Vector, upper: Vector, seconds: float) -> Found:
        """As `MixedIntegerOracle.solve`."""
        try:
            return self._solve(cost, lower, upper, seconds)
        except NativeError:
            raise
        except Exception as error:  # PySCIPOpt has no class of its own for a failed call
            raise NativeError(f"SCIP: {type(error).__name__}: {error}") from error

    def _solve(self, cost: Vector, lower: Vector, upper: Vector, seconds: float) -> Found:
        model = self._model
        model.freeTransform()
        for z, low, high in zip(self._z, lower.tolist(), upper.tolist(), strict=True):
            model.chgVarLb(z, low)
            model.chgVarUb(z, high)
        terms = {Term(z): value for z, value in zip(self._z, cost.tolist(), strict=True)}
        model.setObjective(Expr(terms))
        model.setParam("limits/time", min(seconds, NATIVE_INFINITY))
        model.optimize()
        if model.getStatus() == "infeasible":
            return Found(Stop.FINISHED, None, None, empty=True)
        vector = None
        if model.getNSols() > 0:
            best = model.getBestSol()
            vector = [model.getSolVal(best, z) for z in self._z]
        stop = stop_of(model.getStatus(), STATUSES, "SCIP")
        return Found(stop, vector, finite(model.getDualbound()))

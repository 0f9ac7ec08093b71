"""Sets that a SCIP model holds, its constraints linear or not, as long as slices are convex.

The model is taken back to its untransformed state before each call, its objective and bounds set,
and solved; the bound is SCIP's dual bound, less what its tolerances may hide. Presolving rounds are
off, since models are small and calls many. One thread.
"""

from collections.abc import Callable
from math import fsum, inf
from typing import Any

import numpy as np
from pyscipopt import Model, quicksum
from pyscipopt.scip import Expr, Term

from maskgap.instances.arrays import Vector
from maskgap.instances.errors import InputError, Refused
from maskgap.solvers.mip.adapter import NATIVE_INFINITY, ROUNDING, NativeError
from maskgap.solvers.mip.scip_oracle import PARAMETERS, TOLERANCE
from maskgap.solvers.oracles.mixed.linear_set import LinearSet
from maskgap.solvers.oracles.mixed.protocol import (
    NO_MINIMUM,
    Space,
    Vertex,
    box_violation,
    reach,
    space_of,
    standard,
)

WHOLE = frozenset({"BINARY", "INTEGER"})


class ScipSet:
    """Oracle of a SCIP model; see `SetOracle`. The model is this object's own from then on.

    Its variables come in the order in which they were added, which is not that of `getVars`.
    """

    def __init__(self, model: Any) -> None:
        if not isinstance(model, Model):
            raise InputError(f"SCIP: expected a pyscipopt.Model, not {type(model).__name__}")
        self._model = model
        model.hideOutput()
        model.setParams(PARAMETERS)
        self._variables = sorted(model.getVars(), key=lambda variable: variable.getIndex())
        kinds = [variable.vtype() for variable in self._variables]
        if not self._variables or not set(kinds) <= WHOLE | {"CONTINUOUS"}:
            raise InputError("SCIP: expected a model with binary, integer, continuous variables")
        sides = np.array([[v.getLbOriginal(), v.getUbOriginal()] for v in self._variables])
        sides[sides >= NATIVE_INFINITY], sides[sides <= -NATIVE_INFINITY] = inf, -inf
        self.space: Space = space_of(sides[:, 0], sides[:, 1], [kind in WHOLE for kind in kinds])
        self._remaining: Callable[[], float] = lambda: inf

    def expire_with(self, remaining: Callable[[], float]) -> None:
        """As `SetOracle.expire_with`."""
        self._remaining = remaining

    def minimise(self, direction: Vector, lower: Vector, upper: Vector) -> Vertex | None:
        """As `SetOracle.minimise`."""
        try:
            return self._minimise(direction, lower, upper)
        except (NativeError, Refused):
            raise
        except Exception as error:  # PySCIPOpt has no class of its own for a failed call
            raise NativeError(f"SCIP: {type(error).__name__}: {error}") from error

    def _minimise(self, direction: Vector, lower: Vector, upper: Vector) -> Vertex | None:
        model = self._model
        model.freeTransform()
        cost, exponent = standard(direction)
        for variable, low, high in zip(self._variables, lower, upper, strict=True):
            model.chgVarLb(variable, None if low == -inf else float(low))
            model.chgVarUb(variable, None if high == inf else float(high))
        terms = zip(self._variables, cost.tolist(), strict=True)
        model.setObjective(Expr({Term(variable): value for variable, value in terms}))
        left = max(0.0, self._remaining())
        model.setParam("limits/time", min(left, NATIVE_INFINITY))
        model.optimize()
        status = model.getStatus()
        if status == "infeasible":
            return None
        if status == "userinterrupt":  # it takes the signal for itself
            raise KeyboardInterrupt
        if status in ("unbounded", "inforunbd"):
            raise Refused(NO_MINIMUM)
        bound = float(model.getDualbound())
        slack = TOLERANCE * reach(lower, upper) + ROUNDING * fsum(np.abs(cost).tolist())
        proved = bound - slack if abs(bound) < NATIVE_INFINITY else -inf
        scaled = float(np.ldexp(proved, exponent))
        if model.getNSols() == 0:
            if status == "optimal":
                raise NativeError("SCIP finished without a point")
            return Vertex(None, scaled)
        best = model.getBestSol()
        point = np.array([model.getSolVal(best, variable) for variable in self._variables])
        whole = self.space.integral
        point[whole] = np.round(point[whole])
        return Vertex(np.clip(point, lower, upper), scaled)

    def violation(self, point: Vector) -> float:
        """As `SetOracle.violation`; inf where SCIP finds it infeasible, which has no measure."""
        missed = box_violation(self.space, point)
        self._model.freeTransform()
        for variable, low, high in zip(
            self._variables, self.space.lower, self.space.upper, strict=True
        ):
            self._model.chgVarLb(variable, None if low == -inf else float(low))
            self._model.chgVarUb(variable, None if high == inf else float(high))
        solution = self._model.createOrigSol()
        for variable, value in zip(self._variables, point.tolist(), strict=True):
            self._model.setSolVal(solution, variable, value)
        held = self._model.checkSol(
            solution, printreason=False, completely=True, checkbounds=False, original=True
        )
        return missed if held else inf


def scip_model(rows: LinearSet) -> Any:
    """A SCIP model of a linear set."""
    model = Model()
    space = rows.space
    variables = [
        model.addVar(
            f"x{j}",
            vtype="I" if space.integral[j] else "C",
            lb=None if space.lower[j] == -inf else float(space.lower[j]),
            ub=None if space.upper[j] == inf else float(space.upper[j]),
        )
        for j in range(space.n)
    ]
    for i in range(rows.matrix.shape[0]):
        part = slice(rows.matrix.indptr[i], rows.matrix.indptr[i + 1])
        entries = zip(rows.matrix.indices[part], rows.matrix.data[part].tolist(), strict=True)
        total = quicksum(value * variables[j] for j, value in entries)
        low, high = float(rows.row_lower[i]), float(rows.row_upper[i])
        if low == high:
            model.addCons(total == low)
            continue
        if low > -inf:
            model.addCons(total >= low)
        if high < inf:
            model.addCons(total <= high)
    return model

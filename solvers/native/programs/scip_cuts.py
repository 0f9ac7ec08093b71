"""SCIP with outer approximation of any convex f: gradient cuts, made when SCIP asks for them.

    minimise t  over the set and  t >= f(y) + < grad f(y), x - y >  for the y met so far.

A constraint handler checks points that SCIP would accept, and refuses those whose t lies below f(x)
by more than TOLERANCE max(1, |f(x)|), with the cut at that point; it cuts off solutions of linear
relaxations the same way. Each cut is valid where f is convex. Cuts are written around their point,
t - f(y) + < g, y > >= < g, x >, as one row.

Where f has no value, +inf outside of its domain, no cut is known; such programs are refused at the
first such point.
"""

from math import isfinite
from typing import Any

import numpy as np
import pyscipopt
from pyscipopt import Conshdlr, Model, quicksum
from pyscipopt.scip import PY_SCIP_RESULT as SCIP_RESULT

from maskgap.instances.arrays import Vector
from maskgap.instances.errors import Refused
from maskgap.instances.program import MixedSet, Program, Smooth
from maskgap.solvers.native.programs.protocol import ProgramAnswer, ProgramLimits

TOLERANCE = 1e-7
"""By how much t may lie below f, relative."""

ROWS = 1e-8
"""By how much a row may be missed: less, or a cut made at a point would hold there already."""


class GradientCuts(Conshdlr):
    """The constraint t >= f(x)."""

    def __init__(self, f: Smooth, variables: list[Any], t: Any) -> None:
        self._f, self._variables, self._t = f, variables, t
        self.cuts = 0
        self.left_domain = False

    def conscheck(self, constraints: Any, solution: Any, *_: Any) -> dict[str, Any]:
        """Whether a point is one."""
        value = self._at(solution)[0]
        holds = value - self._shown(solution) <= self._slack(value)
        return {"result": SCIP_RESULT.FEASIBLE if holds else SCIP_RESULT.INFEASIBLE}

    def consenfolp(self, *_: Any) -> dict[str, Any]:
        """Cut off the solution of a relaxation that SCIP would accept."""
        return {"result": self._cut() or SCIP_RESULT.FEASIBLE}

    def consenfops(self, *_: Any) -> dict[str, Any]:
        """Without a relaxation there is nothing to cut."""
        return {"result": SCIP_RESULT.INFEASIBLE}

    def conssepalp(self, *_: Any) -> dict[str, Any]:
        """Cut off the solution of a relaxation."""
        return {"result": self._cut() or SCIP_RESULT.DIDNOTFIND}

    def conslock(self, constraint: Any, *_: Any) -> None:
        """Every variable may make it hold or not, either way."""
        for variable in (*self._variables, self._t):
            self.model.addVarLocks(variable, 1, 1)

    def _at(self, solution: Any) -> tuple[float, Vector, Vector]:
        point = np.array([self.model.getSolVal(solution, v) for v in self._variables])
        value, gradient = self._f(point)
        if not isfinite(value):
            self.left_domain = True
            self.model.interruptSolve()
            return 0.0, np.zeros(len(point)), point
        return value, gradient, point

    def _shown(self, solution: Any) -> float:
        return float(self.model.getSolVal(solution, self._t))

    @staticmethod
    def _slack(value: float) -> float:
        return TOLERANCE * max(1.0, abs(value))

    def _cut(self) -> Any:
        value, gradient, point = self._at(None)
        if value - self._shown(None) <= self._slack(value):
            return None
        self.cuts += 1
        reach = quicksum(float(g) * v for g, v in zip(gradient, self._variables, strict=True) if g)
        self.model.addCons(
            self._t - reach >= value - float(gradient @ point),
            removable=True, dynamic=True, initial=True,
        )  # fmt: skip
        return SCIP_RESULT.CONSADDED


def scip_cuts(program: Program, limits: ProgramLimits) -> ProgramAnswer:
    """Run SCIP. Raises Refused where f has no value at a point that SCIP came to."""
    model = Model()
    model.hideOutput()
    model.setParam("limits/time", limits.seconds)
    model.setParam("limits/gap", limits.gap)
    model.setParam("parallel/maxnthreads", limits.threads)
    model.setParam("numerics/feastol", ROWS)
    model.setParam("misc/allowstrongdualreds", False)  # presolving does not see f
    model.setParam("misc/allowweakdualreds", False)
    x = _variables(model, program.space)
    t = model.addVar("t", lb=None)
    model.setObjective(t)
    handler = GradientCuts(program.objective, x, t)
    model.includeConshdlr(
        handler, "gradients", "t >= f(x)", sepapriority=1, enfopriority=-1, chckpriority=-1,
        sepafreq=1, eagerfreq=100, needscons=False,
    )  # fmt: skip
    start = program.space.lower.clip(-1e3, 1e3)
    value, gradient = program.objective(start)
    if not isfinite(value):
        raise Refused("SCIP with gradient cuts: the objective has no value at the lower bounds")
    reach = quicksum(float(g) * v for g, v in zip(gradient, x, strict=True) if g)
    model.addCons(t - reach >= value - float(gradient @ start))
    model.optimize()
    if handler.left_domain:
        raise Refused("SCIP with gradient cuts: the objective has no value at a point of the set")
    point = None
    if model.getNSols() > 0:
        best = model.getBestSol()
        point = np.array([model.getSolVal(best, v) for v in x])
    bound = float(model.getDualbound())
    return ProgramAnswer(
        point,
        str(model.getStatus()),
        bound if abs(bound) < model.infinity() else -np.inf,
        int(model.getNTotalNodes()),
        handler.cuts,
    )


def _variables(model: pyscipopt.Model, space: MixedSet) -> list[Any]:
    def side(value: float) -> float | None:
        return float(value) if isfinite(value) else None

    x = [
        model.addVar(
            f"x{j}",
            vtype="I" if space.integral[j] else "C",
            lb=side(space.lower[j]),
            ub=side(space.upper[j]),
        )
        for j in range(space.n)
    ]
    for row, least, most in zip(space.matrix, space.row_lower, space.row_upper, strict=True):
        total = quicksum(float(row[j]) * x[j] for j in np.flatnonzero(row))
        if isfinite(least):
            model.addCons(total >= float(least))
        if isfinite(most):
            model.addCons(total <= float(most))
    return x

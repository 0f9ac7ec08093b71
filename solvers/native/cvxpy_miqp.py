"""The row as a cvxpy model solved by SCIP: what a modelling layer makes of the same problem.

    minimise || F z ||^2 + d^T z,   F^T F = Q - Diag(d),   z boolean, lower <= A z <= upper

with a diagonal shift d (`solvers.objectives.shift`). F replaces quad_form(z, psd_wrap(Q)): that
asserts that Q is semidefinite, this holds by construction. cvxpy turns the square into a
second-order cone. The solver is named, since cvxpy would pick Gurobi by itself where that is
installed.

cvxpy has no field for a dual bound and maps an interrupt to a failure, so the raw result is read,
as SCIP left it. It hands SCIP neither a start (its warm_start flag is ignored there) nor callbacks:
a start is kept and never made worse, but SCIP does not see it, and the trace has no intermediate
points. It starts SCIP's clock after writing the model, so the time for that is set aside.
"""

import time
from dataclasses import dataclass
from importlib.metadata import version
from typing import Any

import cvxpy as cp
import numpy as np

from maskgap.instances.masks.rows import LinearRows
from maskgap.instances.masks.state import KEPT, PRUNED
from maskgap.instances.problem import Part
from maskgap.solvers.mip.adapter import NativeRun, Outcome, finite, stop_of
from maskgap.solvers.objectives import shift
from maskgap.solvers.objectives.shift import Shift
from maskgap.solvers.protocol import Answer, Limits, Stop
from maskgap.solvers.settings import WarmStart, settings

FEASIBILITY = 1e-7
"""Feasibility tolerance of SCIP, and the slack of its bound, as in the direct adapter."""

WRITING = 8.0
"""Seconds that cvxpy takes to write a model into SCIP for each second of compiling it."""

LARGEST_ROW = 600
"""Columns; cvxpy writes n^2 coefficients one by one, which no deadline can stop."""

STATUSES = {
    "optimal": Stop.FINISHED,
    "gaplimit": Stop.GAP,
    "timelimit": Stop.TIME,
    "memlimit": Stop.MEMORY,
    "userinterrupt": Stop.INTERRUPTED,
}
"""SCIP's own words; cvxpy's would make an error of an interrupt."""


@dataclass(frozen=True, eq=False)
class _Compiled:
    """A cvxpy problem compiled for SCIP. seconds: that it took; columns: z among the variables."""

    problem: Any
    data: Any
    chain: Any
    columns: list[int]
    seconds: float


def constraints_of(rows: LinearRows, z: Any) -> list[Any]:
    """The rows of a set of masks on a variable z (n,), equalities first, and its forced columns."""
    equal, at = rows.equalities()
    constraints = [equal @ z == at] if len(at) else []
    for row in rows.as_rows():
        sums = row.values @ z[row.columns]
        if not row.is_equality:
            constraints += [sums >= row.lower] if row.lower is not None else []
            constraints += [sums <= row.upper] if row.upper is not None else []
    for state, value in ((PRUNED, 1.0), (KEPT, 0.0)):
        columns = np.flatnonzero(rows.state == state)
        constraints += [z[columns] == value] if len(columns) else []
    return constraints


def build(run: NativeRun, kind: str) -> _Compiled:
    """The compiled model. Raises OutOfTime."""
    d = shift.diagonal_shift(run.quad, kind)
    run.check_time()
    rows = shift.factor(run.quad - np.diag(d))
    run.check_time()
    start = time.perf_counter()
    z = cp.Variable(run.legal.n, boolean=True)
    square = cp.sum_squares(rows @ z) if len(rows) else 0.0  # type: ignore[attr-defined]
    problem = cp.Problem(cp.Minimize(square + d @ z), constraints_of(run.legal.linear_rows(), z))
    data, chain, _ = problem.get_problem_data(cp.SCIP, solver_opts={})
    seconds = time.perf_counter() - start
    run.check_time(needed=WRITING * seconds)
    return _Compiled(problem, data, chain, sorted(data["bool_vars_idx"]), seconds)


def solve(compiled: _Compiled, run: NativeRun, seed: int) -> dict[str, Any]:
    """SCIP's raw result through cvxpy."""
    parameters = {
        "numerics/feastol": FEASIBILITY,
        "numerics/dualfeastol": FEASIBILITY,
        "limits/gap": run.native_gap,
        "limits/absgap": 0.0,
        "limits/time": max(0.0, run.limits.deadline.remaining() - WRITING * compiled.seconds),
        "randomization/randomseedshift": seed % 2**31,
    }
    raw: dict[str, Any] = compiled.chain.solve_via_data(
        compiled.problem, compiled.data, False, run.limits.log, {"scip_params": parameters}
    )
    return raw


def read_back(raw: dict[str, Any], compiled: _Compiled) -> Outcome:
    """What SCIP said; the objective's constant is 0, so its bound is the model's."""
    model = raw["model"]
    vector, objective = None, None
    if "primal" in raw:
        vector = np.asarray(raw["primal"], dtype=np.float64)[compiled.columns]
        objective = float(model.getSolObjVal(model.getBestSol()))
    return Outcome(
        stop=stop_of(raw["scip_status"], STATUSES, "SCIP through cvxpy"),
        status=raw["scip_status"],
        version=f"cvxpy {version('cvxpy')}, SCIP {model.version()}.{model.getTechVersion()}",
        vector=vector,
        objective=objective,
        bound=finite(model.getDualbound()),
        nodes=int(model.getNTotalNodes()),
    )


@settings
class CvxpyMiqp:
    """cvxpy and SCIP."""

    shift: Shift = "diag"
    """The diagonal that is taken off to make the matrix semidefinite."""
    warm_start: WarmStart = "none"
    """Score of a mask that it starts from, unless one is given."""

    def solve(self, problem: Part, limits: Limits, seed: int) -> Answer:
        """Mask, bound and nodes. Raises Refused for a row wider than LARGEST_ROW."""
        run = NativeRun(problem, limits, self.warm_start, seed, FEASIBILITY)
        return run.three_steps(
            LARGEST_ROW,
            "cvxpy writes its n^2 coefficients one by one",
            lambda: build(run, self.shift),
            lambda compiled: run.answer(read_back(solve(compiled, run, seed), compiled)),
        )

"""Gurobi on one row or part: minimise z^T Q z over binary z that meet linear rows, as it stands.

Gurobi takes a convex or nonconvex binary quadratic objective directly, without the factor 1/2 and
as a full symmetric matrix. The package is optional; the licence in its wheel is for non-production
use and covers a limited size (200 variables with a quadratic objective). A row beyond the licence
is refused in Gurobi's words. Its gap divides by |primal|, as ours does. The bound is claimed.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import gurobipy
import numpy as np
from gurobipy import GRB

from maskgap.instances.arrays import pruned_of
from maskgap.instances.errors import Refused
from maskgap.instances.masks.state import KEPT, PRUNED
from maskgap.instances.problem import Part
from maskgap.solvers.mip.adapter import NativeRun, Outcome, finite, stop_of
from maskgap.solvers.protocol import Answer, Limits, Stop
from maskgap.solvers.settings import WarmStart, settings

FEASIBILITY = 1e-9
"""Feasibility, optimality and integrality tolerance, the least that Gurobi takes."""

TOLERANCE = 1e-7
"""Absolute slack of the dual bound in units of the model."""

LARGEST_ROW = 4000
"""Columns, whatever the licence; Q is dense."""

STATUSES = {
    "OPTIMAL": Stop.FINISHED,
    "TIME_LIMIT": Stop.TIME,
    "NODE_LIMIT": Stop.NODES,
    "MEM_LIMIT": Stop.MEMORY,
    "INTERRUPTED": Stop.INTERRUPTED,
}
"""'INFEASIBLE' and the like are missing on purpose; 'SUBOPTIMAL' and 'NUMERIC' are no end."""

GAP_LEFT = 1e-12
"""Gurobi calls a run ended by its gap optimal too; beyond this relative gap it is told apart."""

_LICENCE_ERRORS = (GRB.Error.NO_LICENSE, GRB.Error.SIZE_LIMIT_EXCEEDED)


@contextmanager
def _licence(run: NativeRun) -> Iterator[None]:
    """Turn a licence that is absent or too small into a refusal."""
    try:
        yield
    except gurobipy.GurobiError as error:
        if error.errno not in _LICENCE_ERRORS:
            raise
        raise Refused(
            f"the Gurobi licence here does not cover row {run.problem.row} of "
            f"{run.problem.n} columns: {error}"
        ) from None


@dataclass(frozen=True, eq=False)
class _Built:
    """A model ready to run, with its environment, which has to outlive it."""

    environment: Any
    model: Any
    z: Any

    def close(self) -> None:
        """Free both."""
        self.model.dispose()
        self.environment.dispose()


def build(run: NativeRun, seed: int) -> _Built:
    """The model, in one matrix. Raises OutOfTime, or Refused for want of a licence."""
    parameters = {
        "OutputFlag": int(run.limits.log),
        "Threads": run.limits.threads,
        "Seed": seed % 2_000_000_000,
        "MIPGap": run.native_gap,
        "MIPGapAbs": 0.0,
        "FeasibilityTol": FEASIBILITY,
        "OptimalityTol": FEASIBILITY,
        "IntFeasTol": FEASIBILITY,
    }
    with _licence(run):
        environment = gurobipy.Env(params=parameters)
        model = gurobipy.Model(env=environment)
        z = model.addMVar(run.problem.n, vtype=GRB.BINARY)
        model.setMObjective(run.quad, None, 0.0, xQ_L=z, xQ_R=z, sense=GRB.MINIMIZE)
        rows = run.legal.linear_rows()
        equal, at = rows.equalities()
        model.addConstr(equal @ z == at)
        for row in rows.as_rows():
            if row.is_equality:
                continue
            sums = row.values.astype(np.float64) @ z[row.columns.tolist()]
            if row.lower is not None:
                model.addConstr(sums >= row.lower)
            if row.upper is not None:
                model.addConstr(sums <= row.upper)
        z.setAttr("LB", (rows.state == PRUNED).astype(np.float64))
        z.setAttr("UB", (rows.state != KEPT).astype(np.float64))
    if run.start is not None:
        z.setAttr("Start", pruned_of(run.start).astype(np.float64))
    run.check_time()
    return _Built(environment, model, z)


def optimise(built: _Built, run: NativeRun) -> None:
    """Run Gurobi once in what the deadline has left. Raises Refused for want of a licence."""

    def watch(model: Any, where: int) -> None:
        if run.limits.deadline.interrupted:
            model.terminate()
        if where == GRB.Callback.MIPSOL:
            run.offer_vector(model.cbGetSolution(built.z))
        elif where == GRB.Callback.MIP:
            run.offer_bound(model.cbGet(GRB.Callback.MIP_OBJBND))

    with _licence(run):
        built.model.Params.TimeLimit = run.limits.deadline.remaining()
        built.model.optimize(watch)


def read_back(built: _Built) -> Outcome:
    """What Gurobi said; its values are there only where it counts a solution."""
    model = built.model
    names = {getattr(GRB.Status, name): name for name in dir(GRB.Status) if name.isupper()}
    status = names.get(model.Status, str(model.Status))
    stop = stop_of(status, STATUSES, "Gurobi")
    vector, objective = None, None
    if model.SolCount > 0:
        vector, objective = built.z.X, float(model.ObjVal)
        if stop is Stop.FINISHED and model.MIPGap > GAP_LEFT:
            stop = Stop.GAP
    return Outcome(
        stop=stop,
        status=status,
        version="Gurobi " + ".".join(str(part) for part in gurobipy.gurobi.version()),
        vector=vector,
        objective=objective,
        bound=finite(model.ObjBound),
        nodes=int(model.NodeCount),
    )


@settings
class Gurobi:
    """Gurobi, as it stands."""

    warm_start: WarmStart = "none"
    """Score of a mask that it starts from, unless one is given."""

    def solve(self, problem: Part, limits: Limits, seed: int) -> Answer:
        """Mask, bound and nodes. Raises Refused where the licence does not cover the row."""
        run = NativeRun(problem, limits, self.warm_start, seed, TOLERANCE)

        def finish(built: _Built) -> Answer:
            try:
                optimise(built, run)
                return run.answer(read_back(built))
            finally:
                built.close()

        return run.three_steps(LARGEST_ROW, "its matrix is dense", lambda: build(run, seed), finish)

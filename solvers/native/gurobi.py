"""Gurobi on one row or part: minimise z^T Q z over binary z that meet linear rows, as it stands.

Under refit it minimises over changes of the weights, switched by z (`solvers.native.gurobi_refit`).

Gurobi takes a convex or nonconvex binary quadratic objective directly, without the factor 1/2 and
as a full symmetric matrix. The package is optional; the licence in its wheel is for non-production
use and covers a limited size (200 variables with a quadratic objective). A row beyond the licence
is refused in Gurobi's words. Its gap divides by |primal|, as ours does. The bound is claimed.
"""

from collections.abc import Callable, Sequence
from typing import Any, Literal

import gurobipy
from gurobipy import GRB

from maskgap.instances.objective import ObjectiveName
from maskgap.instances.problem import Part
from maskgap.solvers.mip.adapter import NativeRun, Outcome, finite, stop_of
from maskgap.solvers.native import gurobi_refit
from maskgap.solvers.native.gurobi_model import CONES, Built, empty_model, licence
from maskgap.solvers.native.perspective_diagonal import Diagonal, warm_ups
from maskgap.solvers.protocol import Answer, Limits, Stop
from maskgap.solvers.settings import WarmStart, settings

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


def build(run: NativeRun, seed: int) -> Built:
    """The model of the loss of a mask. Raises OutOfTime, or Refused for want of a licence."""
    with licence(run):
        built = empty_model(run, seed)
        z = built.binaries
        built.model.setMObjective(run.quad, None, 0.0, xQ_L=z, xQ_R=z, sense=GRB.MINIMIZE)
    if run.start is not None:
        built.start(run.start)
    run.check_time()
    return built


def optimise(built: Built, run: NativeRun) -> None:
    """Run Gurobi in what the deadline has left, anew where it cannot meet a tolerance of cones.

    Raises Refused for want of a licence.
    """

    def watch(model: Any, where: int) -> None:
        if run.limits.deadline.interrupted:
            model.terminate()
        if where == GRB.Callback.MIPSOL:
            run.offer_vector(built.pruned(model.cbGetSolution(built.binaries)))
        elif where == GRB.Callback.MIP:
            run.offer_bound(model.cbGet(GRB.Callback.MIP_OBJBND))

    with licence(run):
        for tolerance in CONES:
            built.model.reset()  # all but the model and its start
            built.model.Params.BarQCPConvTol = tolerance
            built.model.Params.TimeLimit = run.limits.deadline.remaining()
            built.model.optimize(watch)
            if built.model.Status not in (GRB.SUBOPTIMAL, GRB.NUMERIC):
                return


def read_back(built: Built) -> Outcome:
    """What Gurobi said; its values are there only where it counts a solution."""
    model = built.model
    names = {getattr(GRB.Status, name): name for name in dir(GRB.Status) if name.isupper()}
    status = names.get(model.Status, str(model.Status))
    stop = stop_of(status, STATUSES, "Gurobi")
    vector, objective = None, None
    if model.SolCount > 0:
        vector, objective = built.pruned(built.binaries.X), float(model.ObjVal)
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

    form: Literal["perspective", "indicator"] = "perspective"
    """Under refit: cones of the perspective function, or constraints that z switches on."""
    diagonal: Diagonal = "best"
    """The diagonal of the perspective function."""
    warm_start: WarmStart = "none"
    """Score of a mask that it starts from, unless one is given."""

    def warm_ups(self, objective: ObjectiveName) -> Sequence[Callable[[], object]]:
        """As `solvers.protocol.Compiled`."""
        return warm_ups(objective, self.diagonal) if self.form == "perspective" else ()

    def solve(self, problem: Part, limits: Limits, seed: int) -> Answer:
        """Mask, bound and nodes. Raises Refused where the licence does not cover the row."""
        run = NativeRun(problem, limits, self.warm_start, seed, TOLERANCE)

        def finish(built: Built) -> Answer:
            try:
                optimise(built, run)
                return run.answer(read_back(built))
            finally:
                built.close()

        def model() -> Built:
            if not problem.objective.refits:
                return build(run, seed)
            if self.form == "indicator":
                return gurobi_refit.build_indicator(run, seed)
            return gurobi_refit.build_perspective(run, seed, self.diagonal)

        return run.three_steps(LARGEST_ROW, "its matrix is dense", model, finish)

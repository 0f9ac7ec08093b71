"""A SCIP model of a part: tolerances, binaries, rows, the objective t, and how it is run and read.

SCIP takes linear objectives only, hence t. Its lower bound 0 is right because t stands for the
whole loss, a squared norm; a default variable would clip any form that leaves a constant out.
SCIP's relative gap divides by min(|primal|, |dual|), so it is never smaller than ours. It uses one
thread. A model is built, solved once and thrown away: raising a limit and solving on has given
false optima.
"""

import time
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from pyscipopt import Eventhdlr, Model
from pyscipopt.scip import PY_SCIP_EVENTTYPE, PY_SCIP_STAGE, Expr

from maskgap.solvers.mip.adapter import NativeRun, Outcome, finite, stop_of
from maskgap.solvers.mip.scip_rows import add_rows
from maskgap.solvers.protocol import Answer, Stop

FEASIBILITY = 1e-7
"""Feasibility and dual feasibility tolerance: t may lie below the loss by that, in the units of
`solvers.mip.adapter`. From 1e-8 on, SCIP asks its LP solver for more than that can do."""

LARGEST_ROW = 2000
"""Columns; beyond, adding the constraint alone overruns any limit that it is given."""

STATUSES = {
    "optimal": Stop.FINISHED,
    "gaplimit": Stop.GAP,
    "timelimit": Stop.TIME,
    "nodelimit": Stop.NODES,
    "totalnodelimit": Stop.NODES,
    "stallnodelimit": Stop.NODES,
    "memlimit": Stop.MEMORY,
    "userinterrupt": Stop.INTERRUPTED,
    "terminate": Stop.INTERRUPTED,
}
"""SCIP's words. 'infeasible' and 'unbounded' are missing on purpose: no row is either."""


class Watch(Eventhdlr):
    """Reports incumbents and bounds while SCIP runs, and ends it when the deadline is moved up."""

    EVENTS = (
        PY_SCIP_EVENTTYPE.BESTSOLFOUND,
        PY_SCIP_EVENTTYPE.DUALBOUNDIMPROVED,
        PY_SCIP_EVENTTYPE.LPSOLVED,
        PY_SCIP_EVENTTYPE.NODEBRANCHED,
        PY_SCIP_EVENTTYPE.PRESOLVEROUND,
    )

    def __init__(self, run: NativeRun, z: Sequence[Any]) -> None:
        self._run = run
        self._z = z

    def eventinit(self) -> None:
        """Begin to listen."""
        for event in self.EVENTS:
            self.model.catchEvent(event, self)

    def eventexit(self) -> None:
        """End it."""
        for event in self.EVENTS:
            self.model.dropEvent(event, self)

    def eventexec(self, event: Any) -> dict[str, Any]:
        """Report an event."""
        model = self.model
        if self._run.limits.deadline.interrupted:
            model.interruptSolve()
        if event.getType() == PY_SCIP_EVENTTYPE.BESTSOLFOUND:
            best = model.getBestSol()
            self._run.offer_vector([model.getSolVal(best, var) for var in self._z])
        elif model.getStage() == PY_SCIP_STAGE.SOLVING and model.getStatus() == "unknown":
            # once it has stopped, SCIP frees its tree and calls the incumbent a dual bound
            self._run.offer_bound(model.getDualbound())
        return {}


@dataclass(frozen=True, eq=False)
class Built:
    """A model ready to run. z: its binaries; watch: its event handler, kept alive here."""

    model: Any
    z: list[Any]
    watch: Watch


def empty_model(run: NativeRun, seed: int) -> tuple[Any, list[Any], Any]:
    """A model with the rows of the set, its binaries z (1 = pruned) and its objective t."""
    model = Model()
    if not run.limits.log:
        model.hideOutput()
    model.setParams(
        {
            "numerics/feastol": FEASIBILITY,
            "numerics/dualfeastol": FEASIBILITY,
            "limits/gap": run.native_gap,
            "limits/absgap": 0.0,
            "randomization/randomseedshift": seed % 2**31,
        }
    )
    z = [model.addVar(f"z{j}", vtype="B") for j in range(run.problem.n)]
    t = model.addVar("t", lb=0.0, ub=None, obj=1.0)
    add_rows(model, z, run.legal.linear_rows())
    return model, z, t


def add_quadratic(run: NativeRun, model: Any, terms: dict[Any, float], since: float) -> None:
    """Add sum of terms <= 0. That cannot be stopped and takes about as long as writing them did."""
    run.check_time(needed=time.perf_counter() - since)
    model.addCons(Expr(terms) <= 0)


def give_start(model: Any, values: Sequence[tuple[Any, float]]) -> None:
    """Store a complete solution: SCIP drops one with many unset variables, and only logs it."""
    solution = model.createSol()
    for variable, value in values:
        model.setSolVal(solution, variable, value)
    model.addSol(solution)


def optimise(built: Built, run: NativeRun) -> None:
    """Run SCIP once, in what the deadline has left."""
    built.model.includeEventhdlr(built.watch, "watch", "incumbents, bounds and interrupts")
    built.model.setParam("limits/time", run.limits.deadline.remaining())
    built.model.optimize()


def read_back(built: Built) -> Outcome:
    """What SCIP said. Asking for a value where there is no solution raises, so that is not done."""
    model = built.model
    vector, objective = None, None
    if model.getNSols() > 0:
        best = model.getBestSol()
        vector = [model.getSolVal(best, variable) for variable in built.z]
        objective = model.getSolObjVal(best)
    status = model.getStatus()
    return Outcome(
        stop=stop_of(status, STATUSES, "SCIP"),
        status=status,
        version=f"SCIP {model.version()}.{model.getTechVersion()}",
        vector=vector,
        objective=objective,
        bound=finite(model.getDualbound()),
        nodes=int(model.getNTotalNodes()),
    )


def finish(built: Built, run: NativeRun) -> Answer:
    """Solve a model and read it back."""
    optimise(built, run)
    return run.answer(read_back(built))

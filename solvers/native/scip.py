"""SCIP on one row or part: minimise t over binary z that meet the rows of their set, in two forms.

    scip-miqp     t >= z^T Q z, all products written out                          (epigraph form)
    scip-factor   t >= d^T z + sum_k y_k^2,  y = F z,  F^T F = Q - Diag(d)        (factor form)

SCIP takes linear objectives only, hence t. Its lower bound 0 is right because t stands for the
whole loss, a squared norm; a default variable would clip any form that leaves a constant out. SCIP
replaces z_i^2 by z_i, which undoes a diagonal shift written out as products; behind y the shift
stays, so the factor form alone has a relaxation that a shift can tighten
(`solvers.objectives.shift`).

SCIP's relative gap divides by min(|primal|, |dual|), so it is never smaller than ours. It uses one
thread. A model is built, solved once and thrown away: raising a limit and solving on has given
false optima. The bound is claimed; SCIP's wheel has no exact arithmetic.
"""

import time
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from pyscipopt import Eventhdlr, Model
from pyscipopt.scip import PY_SCIP_EVENTTYPE, PY_SCIP_STAGE, Expr, Term

from maskgap.instances.arrays import Kept, Vector, pruned_of
from maskgap.instances.problem import Part
from maskgap.solvers.mip.adapter import NativeRun, Outcome, finite, stop_of
from maskgap.solvers.mip.scip_rows import add_rows
from maskgap.solvers.objectives import shift
from maskgap.solvers.objectives.shift import Shift
from maskgap.solvers.protocol import Answer, Limits, Stop
from maskgap.solvers.settings import WarmStart, settings

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


class _Watch(Eventhdlr):
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
        for event in self.EVENTS:
            self.model.catchEvent(event, self)

    def eventexit(self) -> None:
        for event in self.EVENTS:
            self.model.dropEvent(event, self)

    def eventexec(self, event: Any) -> dict[str, Any]:
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
class _Built:
    """A model ready to run. z: its binaries; watch: its event handler, kept alive here."""

    model: Any
    z: list[Any]
    watch: _Watch


def _empty_model(run: NativeRun, seed: int) -> tuple[Any, list[Any], Any]:
    """A model with the rows of the set, its binaries z and its objective t."""
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


def _add_quadratic(run: NativeRun, model: Any, terms: dict[Any, float], since: float) -> None:
    """Add sum of terms <= 0. That cannot be stopped and takes about as long as writing them did."""
    run.check_time(needed=time.perf_counter() - since)
    model.addCons(Expr(terms) <= 0)


def _give_start(model: Any, values: Sequence[tuple[Any, float]]) -> None:
    """Store a complete solution: SCIP drops one with many unset variables, and only logs it."""
    solution = model.createSol()
    for variable, value in values:
        model.setSolVal(solution, variable, value)
    model.addSol(solution)


def _pruned(start: Kept) -> Vector:
    return pruned_of(start).astype(np.float64)


def build_epigraph(run: NativeRun, seed: int, reform_products: bool) -> _Built:
    """The epigraph form. Raises OutOfTime."""
    since = time.perf_counter()
    model, z, t = _empty_model(run, seed)
    model.setParam("constraints/nonlinear/reformbinprods", int(reform_products))
    terms: dict[Any, float] = {Term(t): -1.0}
    for i, row in enumerate(run.quad.tolist()):
        run.check_time()
        terms[Term(z[i], z[i])] = row[i]
        terms |= {Term(z[i], z[j]): 2.0 * row[j] for j in range(i + 1, len(z)) if row[j] != 0.0}
    _add_quadratic(run, model, terms, since)
    if run.start is not None:
        pruned = _pruned(run.start)
        loss = float(pruned @ run.quad @ pruned)
        _give_start(model, [*zip(z, pruned, strict=True), (t, max(0.0, loss))])
    return _Built(model, z, _Watch(run, z))


def build_factor(run: NativeRun, seed: int, kind: str) -> _Built:
    """The factor form with a shift of a kind. Raises OutOfTime, or InputError for the kind."""
    since = time.perf_counter()
    d = shift.diagonal_shift(run.quad, kind)
    run.check_time()
    rows = shift.factor(run.quad - np.diag(d))
    model, z, t = _empty_model(run, seed)
    terms: dict[Any, float] = {Term(t): -1.0}
    terms |= {Term(z[j]): value for j, value in enumerate(d.tolist()) if value != 0.0}
    y = []
    for k, row in enumerate(rows):
        run.check_time()
        # bounds on y_k over the unit box, without which SCIP has to find them by propagation
        low, high = float(row[row < 0].sum()), float(row[row > 0].sum())
        y.append(model.addVar(f"y{k}", lb=low, ub=high))
        linear = {Term(z[j]): value for j, value in enumerate(row.tolist()) if value != 0.0}
        linear[Term(y[k])] = -1.0
        model.addCons(Expr(linear) == 0)
        terms[Term(y[k], y[k])] = 1.0
    _add_quadratic(run, model, terms, since)
    if run.start is not None:
        pruned = _pruned(run.start)
        values = rows @ pruned
        loss = float(d @ pruned + values @ values)
        start = [*zip(z, pruned, strict=True), *zip(y, values, strict=True), (t, max(0.0, loss))]
        _give_start(model, start)
    return _Built(model, z, _Watch(run, z))


def optimise(built: _Built, run: NativeRun) -> None:
    """Run SCIP once, in what the deadline has left."""
    built.model.includeEventhdlr(built.watch, "watch", "incumbents, bounds and interrupts")
    built.model.setParam("limits/time", run.limits.deadline.remaining())
    built.model.optimize()


def read_back(built: _Built) -> Outcome:
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


def finish(built: _Built, run: NativeRun) -> Answer:
    """Solve a model and read it back."""
    optimise(built, run)
    return run.answer(read_back(built))


@settings
class ScipMiqp:
    """SCIP, epigraph form."""

    reform_products: bool = True
    """Whether SCIP may replace products of binaries by linear relaxations of them."""
    warm_start: WarmStart = "none"
    """Score of a mask that it starts from, unless one is given."""

    def solve(self, problem: Part, limits: Limits, seed: int) -> Answer:
        """Mask, bound and nodes. Raises Refused for a row wider than LARGEST_ROW."""
        run = NativeRun(problem, limits, self.warm_start, seed, FEASIBILITY)
        return run.three_steps(
            LARGEST_ROW,
            "SCIP's model has n^2 / 2 products",
            lambda: build_epigraph(run, seed, self.reform_products),
            lambda built: finish(built, run),
        )


@settings
class ScipFactor:
    """SCIP, factor form."""

    shift: Shift = "diag"
    """The diagonal that is taken off to make the matrix semidefinite."""
    warm_start: WarmStart = "none"
    """Score of a mask that it starts from, unless one is given."""

    def solve(self, problem: Part, limits: Limits, seed: int) -> Answer:
        """Mask, bound and nodes. Raises Refused for a row wider than LARGEST_ROW."""
        run = NativeRun(problem, limits, self.warm_start, seed, FEASIBILITY)
        return run.three_steps(
            LARGEST_ROW,
            "its factor is dense",
            lambda: build_factor(run, seed, self.shift),
            lambda built: finish(built, run),
        )

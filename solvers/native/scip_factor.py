"""SCIP in factor form: minimise t over binary z that meet the rows of their set, with a shift.

    t >= d^T z + sum_k y_k^2,   y = F z,   F^T F = Q - Diag(d)

SCIP replaces z_i^2 by z_i, which undoes a diagonal shift written out as products; behind y the
shift stays, so this form has a relaxation that a shift can tighten (`solvers.objectives.shift`).
Under refit the model is that of `solvers.native.scip_refit`. What all share is in
`solvers.native.scip_model`. The bound is claimed; SCIP's wheel has no exact arithmetic.
"""

import time
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from pyscipopt.scip import Expr, Term

from maskgap.instances.arrays import pruned_of
from maskgap.instances.objective import ObjectiveName
from maskgap.instances.problem import Part
from maskgap.solvers.mip.adapter import NativeRun
from maskgap.solvers.native import scip_refit
from maskgap.solvers.native.perspective_diagonal import Diagonal, warm_ups
from maskgap.solvers.native.scip_model import (
    FEASIBILITY,
    LARGEST_ROW,
    Built,
    Watch,
    add_quadratic,
    empty_model,
    finish,
    give_start,
)
from maskgap.solvers.objectives import shift
from maskgap.solvers.objectives.shift import Shift
from maskgap.solvers.protocol import Answer, Limits
from maskgap.solvers.settings import WarmStart, settings


def build_factor(run: NativeRun, seed: int, kind: str) -> Built:
    """The factor form with a shift of a kind. Raises OutOfTime, or InputError for the kind."""
    since = time.perf_counter()
    d = shift.diagonal_shift(run.quad, kind)
    run.check_time()
    rows = shift.factor(run.quad - np.diag(d))
    model, z, t = empty_model(run, seed)
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
    add_quadratic(run, model, terms, since)
    if run.start is not None:
        pruned = pruned_of(run.start).astype(np.float64)
        values = rows @ pruned
        loss = float(d @ pruned + values @ values)
        start = [*zip(z, pruned, strict=True), *zip(y, values, strict=True), (t, max(0.0, loss))]
        give_start(model, start)
    return Built(model, z, Watch(run, z))


@settings
class ScipFactor:
    """SCIP, factor form."""

    shift: Shift = "diag"
    """The diagonal that is taken off to make the matrix semidefinite."""
    diagonal: Diagonal = "best"
    """Under refit, that of the perspective function in its place."""
    warm_start: WarmStart = "none"
    """Score of a mask that it starts from, unless one is given."""

    def warm_ups(self, objective: ObjectiveName) -> Sequence[Callable[[], object]]:
        """As `solvers.protocol.Compiled`."""
        return warm_ups(objective, self.diagonal)

    def solve(self, problem: Part, limits: Limits, seed: int) -> Answer:
        """Mask, bound and nodes. Raises Refused for a row wider than LARGEST_ROW."""
        refits = problem.objective.refits
        tolerance = scip_refit.FEASIBILITY if refits else FEASIBILITY
        run = NativeRun(problem, limits, self.warm_start, seed, tolerance)
        return run.three_steps(
            LARGEST_ROW,
            "its factor is dense",
            lambda: (
                scip_refit.build_factor(run, seed, self.diagonal)
                if refits
                else build_factor(run, seed, self.shift)
            ),
            lambda built: finish(built, run),
        )

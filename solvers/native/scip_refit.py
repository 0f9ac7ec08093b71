"""The refit loss as a model of SCIP, in the weights x and with the perspective function of a D.

    t >= sum_k v_k^2 + sum_j D_j (s_j - 2 w_j x_j + w_j^2),   v = F (w - x),   F^T F = H - Diag(D),
    x_j^2 <= s_j y_j,   y = 1 - z,   (w_j - r_j) y_j <= x_j <= (w_j + r_j) y_j

in the units of `solvers.mip.adapter`, with the ranges r of `solvers.native.change_box`. SCIP
separates the cones by cuts. Without D, as t >= delta^T H delta with rows of big M, its bound stays
at 0 at n = 32, since all weights can be kept a little; so that form is not here.
"""

import time
from typing import Any

import numpy as np
from pyscipopt.scip import Expr, Term

from maskgap.instances.arrays import Vector, pruned_of
from maskgap.solvers.mip.adapter import NativeRun
from maskgap.solvers.native.change_box import change_box
from maskgap.solvers.native.perspective_diagonal import perspective_diagonal
from maskgap.solvers.native.scip_model import (
    Built,
    Watch,
    add_quadratic,
    empty_model,
    give_start,
)
from maskgap.solvers.objectives import shift

FEASIBILITY = 1e-6
"""In place of that of `solvers.native.scip_model`: with the cones SCIP asks its LP solver for a
thousandth of it and less, and that says on standard error what it cannot do."""


def build_factor(run: NativeRun, seed: int, kind: str) -> Built:
    """The factor form with a diagonal of a kind. Raises OutOfTime, or Refused."""
    since = time.perf_counter()
    reach, kept = change_box(run)
    d, target = perspective_diagonal(run, kind), run.target
    rows = shift.factor(run.quad - np.diag(d))
    run.check_time()
    model, z, t = empty_model(run, seed)
    model.setParams({"numerics/feastol": FEASIBILITY, "numerics/dualfeastol": FEASIBILITY})
    constant = model.addVar("one", lb=1.0, ub=1.0)
    terms: dict[Any, float] = {Term(t): -1.0, Term(constant): float(d @ target**2)}
    x, s, y = [], [], []
    for j, (w, r) in enumerate(zip(target.tolist(), reach.tolist(), strict=True)):
        low, high = w - r, w + r
        x.append(model.addVar(f"x{j}", lb=low, ub=high))
        s.append(model.addVar(f"s{j}", lb=0.0, ub=max(low**2, high**2)))
        y.append(model.addVar(f"y{j}", vtype="B"))
        model.addCons(y[j] + z[j] == 1)
        if kept[j]:
            model.chgVarUb(z[j], 0.0)
        else:
            model.addCons(x[j] <= high * y[j])
            model.addCons(x[j] >= low * y[j])
        model.addCons(Expr({Term(x[j], x[j]): 1.0, Term(s[j], y[j]): -1.0}) <= 0)
        terms |= {Term(s[j]): float(d[j]), Term(x[j]): -2.0 * float(d[j]) * w}
    v = []
    for k, row in enumerate(rows):
        run.check_time()
        most = float(np.abs(row) @ reach)
        v.append(model.addVar(f"v{k}", lb=-most, ub=most))
        linear = {Term(x[j]): value for j, value in enumerate(row.tolist()) if value != 0.0}
        linear |= {Term(v[k]): 1.0, Term(constant): -float(row @ target)}
        model.addCons(Expr(linear) == 0)
        terms[Term(v[k], v[k])] = 1.0
    add_quadratic(run, model, terms, since)
    if run.start is not None:
        change = run.change(run.start)
        weights = np.where(run.start, target - change, 0.0)
        pairs = [
            *zip(z, _pruned(run), strict=True),
            *zip(y, 1.0 - _pruned(run), strict=True),
            *zip(x, weights, strict=True),
            *zip(s, weights**2, strict=True),
            *zip(v, rows @ change, strict=True),
            (constant, 1.0),
            (t, max(0.0, float(change @ run.quad @ change))),
        ]
        give_start(model, pairs)
    return Built(model, z, Watch(run, z))


def _pruned(run: NativeRun) -> Vector:
    if run.start is None:
        return np.zeros(0)
    return pruned_of(run.start).astype(np.float64)

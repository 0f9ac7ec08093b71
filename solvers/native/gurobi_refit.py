"""The refit loss as a model of Gurobi, in two forms, in changes delta = w - x of the weights.

    indicator     min delta^T H delta,    z_j = 1  implies  delta_j = w_j,    |delta_j| <= r_j
    perspective   min delta^T R delta + sum_j D_j (s_j - 2 w_j x_j + w_j^2),  R = H - Diag(D),
                  x_j^2 <= s_j y_j,   y = 1 - z,   delta = w - x,   s >= 0,   |delta_j| <= r_j

with the ranges r of `solvers.native.change_box`, in the units of `solvers.mip.adapter`. Gurobi
makes big-M constraints of the indicators. The cones are met to a tolerance alone
(`solvers.native.gurobi_model`): what is claimed then need not be true, and is compared with what
the mask is worth as all claims are. The licence in the wheel counts 2 n and 3 n variables, so it
covers rows of 100 and 66 columns.
"""

import numpy as np
from gurobipy import GRB

from maskgap.solvers.mip.adapter import NativeRun
from maskgap.solvers.native.change_box import change_box
from maskgap.solvers.native.gurobi_model import Built, empty_model, licence
from maskgap.solvers.native.perspective_diagonal import perspective_diagonal


def build_indicator(run: NativeRun, seed: int) -> Built:
    """The first form. Raises OutOfTime, or Refused."""
    reach, kept = change_box(run)
    run.check_time()
    with licence(run):
        built = empty_model(run, seed)
        model, z = built.model, built.binaries
        delta = model.addMVar(run.problem.n, lb=-reach, ub=reach)
        for j, value in enumerate(run.target.tolist()):
            if kept[j]:
                model.addConstr(z[j] == 0)
            else:
                model.addGenConstrIndicator(z[j].item(), True, delta[j].item() == value)
        model.setMObjective(run.quad, None, 0.0, xQ_L=delta, xQ_R=delta, sense=GRB.MINIMIZE)
    if run.start is not None:
        built.start(run.start)
        delta.setAttr("Start", run.change(run.start))
    run.check_time()
    return built


def build_perspective(run: NativeRun, seed: int, kind: str) -> Built:
    """The second form, with a diagonal of a kind. Raises OutOfTime, or Refused."""
    reach, kept = change_box(run)
    d, n, w = perspective_diagonal(run, kind), run.problem.n, run.target
    rest = run.quad - np.diag(d)
    run.check_time()
    with licence(run):
        built = empty_model(run, seed, of_kept=True)
        model, y = built.model, built.binaries
        x = model.addMVar(n, lb=w - reach, ub=w + reach)
        s = model.addMVar(n)
        model.addConstr(y[np.flatnonzero(kept).tolist()] == 1)
        for j in range(n):
            model.addConstr(x[j].item() * x[j].item() <= s[j].item() * y[j].item())
        model.setObjective(
            x @ rest @ x - (2.0 * (rest @ w + d * w)) @ x + d @ s + float(w @ run.quad @ w),
            GRB.MINIMIZE,
        )
    if run.start is not None:
        weights = np.where(run.start, w - run.change(run.start), 0.0)
        built.start(run.start)
        x.setAttr("Start", weights)
        s.setAttr("Start", weights**2)
    run.check_time()
    return built

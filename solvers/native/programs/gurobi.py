"""Gurobi on a program with a quadratic objective, as it stands.

Its licence without a file covers programs of limited size; what is beyond is refused in its words.
"""

from typing import Any

import gurobipy
import numpy as np
import scipy.sparse
from gurobipy import GRB

from maskgap.instances.errors import Refused
from maskgap.instances.program import Program, QuadraticForm
from maskgap.solvers.native.programs.protocol import ProgramAnswer, ProgramLimits


def gurobi(program: Program, limits: ProgramLimits) -> ProgramAnswer:
    """Run Gurobi. Raises Refused for an objective that is no quadratic, or want of a licence."""
    form, space = program.objective, program.space
    if not isinstance(form, QuadraticForm):
        raise Refused("Gurobi takes quadratics: value and gradient are not enough for it")
    try:
        with gurobipy.Env(params={"OutputFlag": 0}) as env, gurobipy.Model(env=env) as model:
            model.Params.TimeLimit = limits.seconds
            model.Params.MIPGap = limits.gap
            model.Params.MIPGapAbs = 0.0
            model.Params.Threads = limits.threads
            kinds = np.where(space.integral, GRB.INTEGER, GRB.CONTINUOUS)
            x = model.addMVar(space.n, space.lower, space.upper, vtype=kinds)
            rows: Any = scipy.sparse.csr_matrix(space.matrix)
            low, high = np.isfinite(space.row_lower), np.isfinite(space.row_upper)
            if low.any():
                model.addConstr(rows[low] @ x >= space.row_lower[low])
            if high.any():
                model.addConstr(rows[high] @ x <= space.row_upper[high])
            model.setMObjective(form.matrix, form.linear, form.constant, sense=GRB.MINIMIZE)
            model.optimize()
            names = {getattr(GRB.Status, name): name for name in dir(GRB.Status) if name.isupper()}
            point = np.asarray(x.X) if model.SolCount > 0 else None
            bound, nodes = float(model.ObjBound), int(model.NodeCount)
            return ProgramAnswer(point, names[model.Status], bound, nodes)
    except gurobipy.GurobiError as error:
        raise Refused(f"Gurobi: {error}") from error

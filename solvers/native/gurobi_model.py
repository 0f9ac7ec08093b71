"""A Gurobi model of a part: its environment, licence, tolerances, binaries and rows."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import gurobipy
import numpy as np
from gurobipy import GRB

from maskgap.instances.errors import Refused
from maskgap.instances.masks.state import KEPT, PRUNED
from maskgap.solvers.mip.adapter import NativeRun

FEASIBILITY = 1e-9
"""Feasibility, optimality and integrality tolerance, the least that Gurobi takes."""

_LICENCE_ERRORS = (GRB.Error.NO_LICENSE, GRB.Error.SIZE_LIMIT_EXCEEDED)


@contextmanager
def licence(run: NativeRun) -> Iterator[None]:
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
class Built:
    """A model ready to run, with its environment, which has to outlive it. z: its binaries."""

    environment: Any
    model: Any
    z: Any

    def close(self) -> None:
        """Free both."""
        self.model.dispose()
        self.environment.dispose()


def empty_model(run: NativeRun, seed: int) -> Built:
    """A model with the binaries z, 1 = pruned, and the rows of the set, under `licence`."""
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
    environment = gurobipy.Env(params=parameters)
    model = gurobipy.Model(env=environment)
    z = model.addMVar(run.problem.n, vtype=GRB.BINARY)
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
    return Built(environment, model, z)

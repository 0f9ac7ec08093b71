"""A Gurobi model of a part: environment, licence, tolerances, binaries and rows."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import gurobipy
import numpy as np
from gurobipy import GRB

from maskgap.instances.arrays import Kept, Vector
from maskgap.instances.errors import Refused
from maskgap.instances.masks.state import KEPT, PRUNED
from maskgap.solvers.mip.adapter import NativeRun

FEASIBILITY = 1e-9
"""Feasibility, optimality and integrality tolerance, the least that Gurobi takes."""

CONES = (1e-9, 1e-7)
"""Tolerances of cones. At Gurobi's own, 1e-6, bounds of refit rows lay 1.4e-6 above the truth. The
second is for what it gives up at the first."""

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
    """A model ready to run, with its environment, which has to outlive it.

    binaries: 1 where a column is pruned, or where it is kept (`of_kept`).
    """

    environment: Any
    model: Any
    binaries: Any
    of_kept: bool

    def pruned(self, values: Any) -> Vector:
        """The z (n,) of values of the binaries."""
        found: Vector = np.asarray(values, dtype=np.float64)
        return 1.0 - found if self.of_kept else found

    def start(self, kept: Kept) -> None:
        """Begin with the binaries of a mask (n,)."""
        self.binaries.setAttr("Start", (kept == self.of_kept).astype(np.float64))

    def close(self) -> None:
        """Free both."""
        self.model.dispose()
        self.environment.dispose()


def empty_model(run: NativeRun, seed: int, of_kept: bool = False) -> Built:
    """A model with binaries and the rows of the set, to be made under `licence`."""
    parameters = {
        "OutputFlag": int(run.limits.log),
        "Threads": run.limits.threads,
        "Seed": seed % 2_000_000_000,
        "MIPGap": run.native_gap,
        "MIPGapAbs": 0.0,
        "FeasibilityTol": FEASIBILITY,
        "OptimalityTol": FEASIBILITY,
        "IntFeasTol": FEASIBILITY,
        "BarQCPConvTol": CONES[0],
    }
    environment = gurobipy.Env(params=parameters)
    model = gurobipy.Model(env=environment)
    binaries = model.addMVar(run.problem.n, vtype=GRB.BINARY)
    z = 1.0 - binaries if of_kept else binaries
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
    on, off = (KEPT, PRUNED) if of_kept else (PRUNED, KEPT)
    binaries.setAttr("LB", (rows.state == on).astype(np.float64))
    binaries.setAttr("UB", (rows.state != off).astype(np.float64))
    return Built(environment, model, binaries, of_kept)

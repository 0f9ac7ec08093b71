"""The linear relaxation of a set of masks behind the interface of an oracle, to compare hulls with.

    min < g, x >   over   { 0 <= x <= 1, lower <= A x <= upper },  forced columns fixed

by the simplex method of HiGHS, one model that is warm-started from call to call. Its vertices may
be fractional. The bound is not its objective but that of its row multipliers y, whatever they are:

    sum over rows of (y_r lower_r or y_r upper_r, by the sign of y_r) + sum of min over x_j of
    (g - A^T y)_j x_j.
"""

from math import inf
from typing import Any

import numpy as np
from highspy import HighsModelStatus, HighsStatus

from maskgap.instances.arrays import Vector
from maskgap.instances.masks.protocol import MaskSet
from maskgap.instances.masks.state import KEPT, PRUNED, States
from maskgap.solvers.mip import highs
from maskgap.solvers.mip.adapter import NativeError
from maskgap.solvers.protocol import Deadline, Limits

NEAR = 1e-9
"""Entries this near to 0 or 1 are taken for it."""


class RelaxationOracle:
    """Minimum over the linear relaxation of a node; see `oracles.Oracle`.

    multipliers: (rows,) y of the last call.
    """

    def __init__(self, legal: MaskSet, deadline: Deadline) -> None:
        self.multipliers: Vector = np.zeros(len(legal.linear_rows().lower))
        rows, n = legal.linear_rows(), legal.n
        self._forced = rows.state
        self._matrix, self._lower, self._upper = highs.rows_of(rows)
        model = highs.LinearModel(
            np.zeros(n), np.zeros(n), np.ones(n), self._matrix, self._lower, self._upper, 0
        )
        self._deadline = deadline
        self._highs: Any = highs.load(model, Limits(deadline), gap=0.0, seed=0)
        self._highs.setOptionValue("presolve", "off")
        self._columns = np.arange(n, dtype=np.int32)

    def minimise(self, gradient: Vector, state: States, vertex: Vector) -> float:
        """As `Oracle.minimise`, but the vertex may be fractional; -inf out of time."""
        ones = (state == PRUNED) | (self._forced == PRUNED)
        zeros = (state == KEPT) | (self._forced == KEPT)
        if (ones & zeros).any():
            return inf
        lower, upper = ones.astype(np.float64), (~zeros).astype(np.float64)
        scale = float(np.abs(gradient).max(initial=0.0)) or 1.0
        model, n = self._highs, len(gradient)
        for status in (
            model.changeColsCost(n, self._columns, gradient / scale),
            model.changeColsBounds(n, self._columns, lower, upper),
            model.setOptionValue("time_limit", model.getRunTime() + self._deadline.remaining()),
        ):
            if status != HighsStatus.kOk:
                raise NativeError(f"HiGHS: the relaxation's model was not changed: {status.name}")
        model.run()
        status = model.getModelStatus()
        if status not in (HighsModelStatus.kOptimal, HighsModelStatus.kTimeLimit):
            model.clearSolver()  # a warm start can end in doubt, or call a node empty that is not
            model.run()
            status = model.getModelStatus()
        if status == HighsModelStatus.kInfeasible:
            return inf
        if status not in (HighsModelStatus.kOptimal, HighsModelStatus.kTimeLimit):
            raise NativeError(f"HiGHS: the relaxation ended with {status.name}")
        solution = model.getSolution()
        x = np.clip(np.asarray(solution.col_value, dtype=np.float64), lower, upper)
        x[x < NEAR] = 0.0
        x[x > 1.0 - NEAR] = 1.0
        vertex[:] = x
        if status == HighsModelStatus.kTimeLimit:
            return -inf
        y = np.asarray(solution.row_dual, dtype=np.float64)
        self.multipliers = scale * y
        rest = gradient / scale - self._matrix.T @ y
        sides = np.where(y > 0.0, y * self._lower, y * self._upper)
        return scale * float(sides.sum() + np.minimum(rest * lower, rest * upper).sum())

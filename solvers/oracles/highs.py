"""The oracle by HiGHS: one model, whose costs and bounds change from call to call.

Presolve, symmetry detection and heuristics are off: on most sets the first relaxation is integral,
and each of them costs more than it does. For a mixed-integer model `time_limit` counts from the
start of the run, not from the object's first. An interrupt is seen between calls only.
"""

from typing import Any

import numpy as np
from highspy import HighsModelStatus, HighsStatus

from maskgap.instances.arrays import Vector
from maskgap.instances.masks.protocol import MaskSet
from maskgap.solvers.mip import highs
from maskgap.solvers.mip.adapter import NativeError
from maskgap.solvers.oracles.mixed_integer import Found, MixedIntegerOracle
from maskgap.solvers.protocol import Deadline, Limits, Stop

OPTIONS = {
    "presolve": "off",
    "mip_detect_symmetry": False,
    "mip_heuristic_effort": 0.0,
    "mip_heuristic_run_feasibility_jump": False,
}


class HighsOracle(MixedIntegerOracle):
    """Minimum over the legal masks of a node by HiGHS.

    Every HiGHS object that a process uses at the same time must have the same `threads`.
    """

    name = "HiGHS"
    tolerance = highs.FEASIBILITY

    def __init__(self, legal: MaskSet, deadline: Deadline, threads: int = 1) -> None:
        super().__init__(legal, deadline)
        n = legal.n
        model = highs.LinearModel(
            np.zeros(n), np.zeros(n), np.ones(n), *highs.rows_of(self.rows), integers=n
        )
        self._highs: Any = highs.load(model, Limits(deadline, threads=threads), gap=0.0, seed=0)
        self._columns = np.arange(n, dtype=np.int32)
        for option, value in OPTIONS.items():
            self._accept(self._highs.setOptionValue(option, value), option)

    def solve(self, cost: Vector, lower: Vector, upper: Vector, seconds: float) -> Found:
        """As `MixedIntegerOracle.solve`."""
        model, n = self._highs, len(cost)
        self._accept(model.changeColsCost(n, self._columns, cost), "changeColsCost")
        self._accept(model.changeColsBounds(n, self._columns, lower, upper), "changeColsBounds")
        self._accept(model.setOptionValue("time_limit", seconds), "time_limit")
        if model.run() == HighsStatus.kError:
            raise NativeError(f"HiGHS: run failed: {model.getModelStatus().name}")
        if model.getModelStatus() == HighsModelStatus.kInfeasible:
            return Found(Stop.FINISHED, None, None, empty=True)
        outcome = highs.read_back(model, n)
        return Found(outcome.stop, outcome.vector, outcome.bound)

    @staticmethod
    def _accept(status: HighsStatus, what: str) -> None:
        if status != HighsStatus.kOk:
            raise NativeError(f"HiGHS: {what} returned {status.name}")

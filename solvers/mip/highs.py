"""HiGHS as the adapters use it: one new object a run, every status read, bounds as they come.

HiGHS solves no mixed-integer problem with a Hessian: it returns an error, next to an objective and
a bound of 0 that look like a perfect result. So both adapters hand it linear models, check the
status of every call, and read values only where it says that there is a solution.

Facts that this module is for. `threads` is fixed by the first run in a process until the global
scheduler is reset. `time_limit` counts from an object's first run. The default gaps are 1e-4 and
1e-6. The constructor of highspy prints a banner before any option can be set.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import highspy
import numpy as np
import scipy.sparse
from highspy import HighsStatus
from numpy.typing import NDArray

from maskgap.instances.arrays import Vector
from maskgap.instances.masks.rows import LinearRows
from maskgap.solvers.mip.adapter import NativeError, Outcome, finite, stop_of
from maskgap.solvers.protocol import Limits, Stop

FEASIBILITY = 1e-9
"""Primal, dual and integrality tolerance."""

STATUSES = {
    "kOptimal": Stop.FINISHED,
    "kTimeLimit": Stop.TIME,
    "kMemoryLimit": Stop.MEMORY,
    "kInterrupt": Stop.INTERRUPTED,
    "kHighsInterrupt": Stop.INTERRUPTED,
}
"""'kInfeasible', 'kUnbounded' and 'kUnknown' are missing on purpose: no model here is either."""

SMALLEST_ENTRY = 1e-9
"""HiGHS takes smaller matrix entries for zero, with a warning."""

GAP_LEFT = 1e-12
"""HiGHS calls a run ended by its gap optimal too; beyond this relative gap it is told apart."""


@dataclass(frozen=True, eq=False)
class LinearModel:
    """min cost . x,  row_lower <= A x <= row_upper,  lower <= x <= upper,  x_j integer for j < n.

    matrix: sparse (rows, columns); the vectors are float64; integers: n, the leading columns.
    """

    cost: Vector
    lower: Vector
    upper: Vector
    matrix: scipy.sparse.csr_matrix
    row_lower: Vector
    row_upper: Vector
    integers: int


def rows_of(rows: LinearRows) -> tuple[scipy.sparse.csr_matrix, Vector, Vector]:
    """The matrix and both sides of the rows of a set of masks, as a `LinearModel` takes them."""
    matrix = scipy.sparse.csr_matrix(rows.system, dtype=np.float64)
    return matrix, rows.lower.astype(np.float64), rows.upper.astype(np.float64)


class _Quiet(highspy.Highs):
    """Highs without the banner: its constructor turns callbacks on, which writes it."""

    def enableCallbacks(self) -> None:  # noqa: N802 - the name is highspy's
        super().setOptionValue("output_flag", False)
        super().enableCallbacks()  # type: ignore[no-untyped-call]


def _ok(status: HighsStatus, what: str) -> None:
    if status != HighsStatus.kOk:
        raise NativeError(f"HiGHS: {what} returned {status.name}")


def load(model: LinearModel, limits: Limits, gap: float, seed: int) -> Any:
    """A new Highs object with the model and all options but the time limit.

    gap: relative gap at which it may stop. Raises NativeError when HiGHS takes anything with less
    than its full consent.
    """
    # static: runs of HiGHS in other threads of this process would lose their workers
    highspy.Highs.resetGlobalScheduler(True)
    highs = _Quiet()  # type: ignore[no-untyped-call]
    options = {
        "output_flag": limits.log,
        "threads": limits.threads,
        "random_seed": seed % 2**31,
        "mip_rel_gap": gap,
        "mip_abs_gap": 0.0,
        "primal_feasibility_tolerance": FEASIBILITY,
        "dual_feasibility_tolerance": FEASIBILITY,
        "mip_feasibility_tolerance": FEASIBILITY,
    }
    for name, value in options.items():
        _ok(highs.setOptionValue(name, value), f"option {name}={value}")
    lp = highspy.HighsLp()
    lp.num_col_, lp.num_row_ = len(model.cost), len(model.row_lower)
    lp.col_cost_, lp.col_lower_, lp.col_upper_ = model.cost, model.lower, model.upper
    lp.row_lower_, lp.row_upper_ = model.row_lower, model.row_upper
    lp.a_matrix_.format_ = highspy.MatrixFormat.kRowwise
    lp.a_matrix_.start_ = model.matrix.indptr
    lp.a_matrix_.index_ = model.matrix.indices
    lp.a_matrix_.value_ = model.matrix.data
    lp.integrality_ = [highspy.HighsVarType.kInteger] * model.integers + [
        highspy.HighsVarType.kContinuous
    ] * (len(model.cost) - model.integers)
    _ok(highs.passModel(lp), "passModel")
    return highs


def give_start(highs: Any, values: Sequence[float] | NDArray[np.float64]) -> None:
    """Hand over a complete start: every column, auxiliary ones too."""
    solution = highspy.HighsSolution()
    solution.col_value = np.asarray(values, dtype=np.float64)
    _ok(highs.setSolution(solution), "setSolution")


def optimise(
    highs: Any,
    limits: Limits,
    on_vector: Callable[[NDArray[np.float64]], None],
    on_bound: Callable[[float], None],
) -> None:
    """Run once in what the deadline has left. Raises NativeError when run() fails.

    on_vector gets the columns of each improving solution, on_bound the dual bound as it improves.
    """

    def improved(event: Any) -> None:
        on_vector(np.asarray(event.data_out.mip_solution, dtype=np.float64))

    def checked(event: Any) -> None:
        on_bound(event.data_out.mip_dual_bound)
        if limits.deadline.interrupted:
            event.interrupt()

    def interrupt(event: Any) -> None:
        if limits.deadline.interrupted:
            event.interrupt()

    highs.cbMipImprovingSolution.subscribe(improved)
    highs.cbMipInterrupt.subscribe(checked)
    highs.cbSimplexInterrupt.subscribe(interrupt)
    _ok(highs.setOptionValue("time_limit", limits.deadline.remaining()), "option time_limit")
    status = highs.run()
    highs.clearCallbacks()
    if status == HighsStatus.kError:
        raise NativeError(f"HiGHS: run returned {status.name}: {highs.getModelStatus().name}")


def read_back(highs: Any, integers: int) -> Outcome:
    """What HiGHS said; the vector holds the leading `integers` columns."""
    info = highs.getInfo()
    status = highs.getModelStatus().name
    stop = stop_of(status, STATUSES, "HiGHS")
    vector, objective = None, None
    if info.primal_solution_status == highspy.SolutionStatus.kSolutionStatusFeasible:
        vector = np.asarray(highs.getSolution().col_value, dtype=np.float64)[:integers]
        objective = float(info.objective_function_value)
    if stop is Stop.FINISHED and info.mip_gap > GAP_LEFT:
        stop = Stop.GAP
    return Outcome(
        stop=stop,
        status=status,
        version=f"HiGHS {highs.version()}",
        vector=vector,
        objective=objective,
        bound=finite(info.mip_dual_bound),
        nodes=max(0, int(info.mip_node_count)),
    )

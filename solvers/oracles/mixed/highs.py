"""Linear sets through HiGHS: persistent models, whose costs and bounds change from call to call.

The linear relaxation is asked first: its simplex goes on from the last basis, and where its point
is whole in the integral variables, it is the minimum, with reduced costs besides. Only else is the
mixed-integer model run. With duals y and reduced costs r = direction - A^T y of a relaxation,

    < direction, v >  >=  sum of y_i times the side of row i that its sign asks for
                          + sum of r_j times the bound of variable j that its sign asks for

for every v of the box, whatever tolerances say, where these sides are finite; else the solver's own
value counts. Costs are divided by a power of two that brings the largest near 2^10, and a dual
bound of a mixed-integer run is lowered by the tolerances, as in `solvers.oracles.mixed_integer`.
"""

from collections.abc import Callable
from math import fsum, inf
from typing import Any

import highspy
import numpy as np
from highspy import HighsModelStatus, HighsStatus

from maskgap.instances.arrays import Vector
from maskgap.instances.errors import InputError, Refused
from maskgap.solvers.mip import highs
from maskgap.solvers.mip.adapter import ROUNDING, NativeError
from maskgap.solvers.mip.highs import SMALLEST_ENTRY
from maskgap.solvers.oracles.mixed.emptiness import shown_empty
from maskgap.solvers.oracles.mixed.linear_set import LinearSet
from maskgap.solvers.oracles.mixed.protocol import (
    NO_MINIMUM,
    SUMMING,
    WHOLE,
    Space,
    Vertex,
    reach,
    standard,
)
from maskgap.solvers.protocol import Deadline, Limits

LARGEST_ENTRY = 1e15
"""HiGHS takes no matrix entries from here on."""

ENDLESS = frozenset({HighsModelStatus.kUnbounded, HighsModelStatus.kUnboundedOrInfeasible})


class HighsSet:
    """Oracle of a linear set by HiGHS; see `SetOracle`.

    Raises InputError for entries of the matrix that HiGHS does not take.
    """

    def __init__(self, rows: LinearSet) -> None:
        sizes = np.abs(rows.matrix.data)
        if sizes.size and not (sizes.min() > SMALLEST_ENTRY and sizes.max() < LARGEST_ENTRY):
            raise InputError(
                f"A: entries of sizes {sizes.min():.3g} to {sizes.max():.3g}; HiGHS takes them from"
                f" {SMALLEST_ENTRY:g} to {LARGEST_ENTRY:g}: scale rows and variables"
            )
        self.rows = rows
        self._columns = np.arange(rows.space.n, dtype=np.int32)
        self._remaining: Callable[[], float] = lambda: inf
        self._relaxed: Any = self._load(whole=False)
        self._whole: Any = self._load(whole=True) if rows.space.integral.any() else None

    @property
    def space(self) -> Space:
        """As `SetOracle.space`."""
        return self.rows.space

    def violation(self, point: Vector) -> float:
        """As `SetOracle.violation`."""
        return self.rows.violation(point)

    def expire_with(self, remaining: Callable[[], float]) -> None:
        """As `SetOracle.expire_with`."""
        self._remaining = remaining

    def minimise(self, direction: Vector, lower: Vector, upper: Vector) -> Vertex | None:
        """As `SetOracle.minimise`."""
        cost, exponent = standard(direction)
        relaxed = self._relax(cost, lower, upper)
        if relaxed is None:
            return None
        if relaxed.point is None or self._is_whole(relaxed.point):
            return _scaled(relaxed, exponent)
        found = self._branch(cost, lower, upper)
        if found is None:
            return None
        bound = max(found.bound, relaxed.bound)
        return _scaled(Vertex(found.point, bound), exponent)

    def shows_empty(self, lower: Vector, upper: Vector) -> bool:
        """Whether it is shown from the data that a box (n,) has no point; False: not decided."""
        return shown_empty(self.rows, lower, upper, self._look)

    def _look(self, lower: Vector, upper: Vector) -> tuple[Vector | None, Vector | None]:
        """As `emptiness.Relax`."""
        status = self._run(self._relaxed, np.zeros(self.space.n), lower, upper)
        if status == HighsModelStatus.kOptimal:
            return np.asarray(self._relaxed.getSolution().col_value, dtype=np.float64), None
        told, found, ray = self._relaxed.getDualRay()
        forces = np.asarray(ray, dtype=np.float64)
        known = told == HighsStatus.kOk and found and bool(np.isfinite(forces).all())
        return None, forces if known else None

    def _relax(self, cost: Vector, lower: Vector, upper: Vector) -> Vertex | None:
        """The linear relaxation: None where it is empty."""
        status = self._run(self._relaxed, cost, lower, upper)
        if status == HighsModelStatus.kInfeasible:
            return None
        if status in ENDLESS:
            plain = self._run(self._relaxed, np.zeros_like(cost), lower, upper)
            if plain == HighsModelStatus.kInfeasible:
                return None
            raise Refused(NO_MINIMUM)
        if status != HighsModelStatus.kOptimal:
            return Vertex(None, _by_box(cost, lower, upper))
        solution = self._relaxed.getSolution()
        point = np.clip(np.asarray(solution.col_value, dtype=np.float64), lower, upper)
        self._round(point)
        duals = np.asarray(solution.row_dual, dtype=np.float64)
        reduced = cost - self.rows.matrix.T @ duals
        bound = _dual_bound(self.rows, duals, reduced, (lower, upper))
        if bound is None:
            value = float(self._relaxed.getInfo().objective_function_value)
            sizes = fsum(np.abs(cost * point).tolist())
            return Vertex(point, value - highs.FEASIBILITY * (len(cost) + sizes))
        return Vertex(point, bound, _rises(reduced, point, (lower, upper)))

    def _branch(self, cost: Vector, lower: Vector, upper: Vector) -> Vertex | None:
        """The mixed-integer model: None where it has no point."""
        model = self._whole
        status = self._run(model, cost, lower, upper)
        if status == HighsModelStatus.kInfeasible:
            return None
        if status in ENDLESS:
            raise Refused(NO_MINIMUM)
        info = model.getInfo()
        bound = float(info.mip_dual_bound)
        slack = highs.FEASIBILITY * reach(lower, upper) + ROUNDING * abs(bound)
        if info.primal_solution_status != highspy.SolutionStatus.kSolutionStatusFeasible:
            return Vertex(None, bound - slack if abs(bound) < 1e19 else -inf)
        point = np.clip(np.asarray(model.getSolution().col_value, np.float64), lower, upper)
        self._round(point)
        return Vertex(point, bound - slack)

    def _run(self, model: Any, cost: Vector, lower: Vector, upper: Vector) -> HighsModelStatus:
        n = len(cost)
        _accept(model.changeColsCost(n, self._columns, cost), "changeColsCost")
        _accept(model.changeColsBounds(n, self._columns, lower, upper), "changeColsBounds")
        left = self._remaining()
        if left < inf:
            # a linear model counts from the object's first run, a mixed-integer one from this run
            spent = model.getRunTime() if model is self._relaxed else 0.0
            _accept(model.setOptionValue("time_limit", max(0.0, left) + spent), "time_limit")
        if model.run() == HighsStatus.kError:
            raise NativeError(f"HiGHS: run failed: {model.getModelStatus().name}")
        status: HighsModelStatus = model.getModelStatus()
        return status

    def _is_whole(self, point: Vector) -> bool:
        values = point[self.rows.space.integral]
        return bool((values == np.round(values)).all())

    def _round(self, point: Vector) -> None:
        """Values that are whole but for rounding become so, in place."""
        nearest = np.round(point)
        near = self.rows.space.integral & (np.abs(point - nearest) <= WHOLE)
        point[near] = nearest[near]

    def _load(self, whole: bool) -> Any:
        rows = self.rows
        n = rows.space.n
        model = highs.LinearModel(
            np.zeros(n), rows.space.lower, rows.space.upper, rows.matrix,
            rows.row_lower, rows.row_upper, integers=0,
        )  # fmt: skip
        loaded = highs.load(model, Limits(Deadline(inf)), gap=0.0, seed=0)
        _accept(loaded.setOptionValue("presolve", "off"), "presolve")
        if whole:
            _accept(loaded.setOptionValue("mip_detect_symmetry", False), "mip_detect_symmetry")
            kinds = [
                highspy.HighsVarType.kInteger if j else highspy.HighsVarType.kContinuous
                for j in rows.space.integral
            ]
            for j, kind in enumerate(kinds):
                _accept(loaded.changeColIntegrality(j, kind), "changeColIntegrality")
        return loaded


def _accept(status: HighsStatus, what: str) -> None:
    if status != HighsStatus.kOk:
        raise NativeError(f"HiGHS: {what} returned {status.name}")


def _scaled(vertex: Vertex, exponent: int) -> Vertex:
    rises = None if vertex.rises is None else np.ldexp(vertex.rises, exponent)
    return Vertex(vertex.point, float(np.ldexp(vertex.bound, exponent)), rises)


def _by_box(cost: Vector, lower: Vector, upper: Vector) -> float:
    """The bound that needs no rows; -inf where a variable is unbounded."""
    sides = np.where(cost > 0.0, lower, upper)
    used = cost != 0.0
    if not np.isfinite(sides[used]).all():
        return -inf
    return fsum((cost[used] * sides[used]).tolist())


def _dual_bound(
    rows: LinearSet, duals: Vector, reduced: Vector, box: tuple[Vector, Vector]
) -> float | None:
    """What duals prove; None where a side that they ask for is infinite."""
    sides = np.where(duals > 0.0, rows.row_lower, rows.row_upper)
    bounds = np.where(reduced > 0.0, box[0], box[1])
    used, priced = duals != 0.0, reduced != 0.0
    if not (np.isfinite(sides[used]).all() and np.isfinite(bounds[priced]).all()):
        return None
    terms = [*(duals[used] * sides[used]).tolist(), *(reduced[priced] * bounds[priced]).tolist()]
    return fsum(terms) - SUMMING * fsum(abs(term) for term in terms)


def _rises(reduced: Vector, point: Vector, box: tuple[Vector, Vector]) -> Vector:
    """What leaving the bound that it is at costs a unit of each variable, 0 where it is at none."""
    at_lower, at_upper = point == box[0], point == box[1]
    fits = (at_lower & (reduced > 0.0)) | (at_upper & (reduced < 0.0))
    return np.where(fits, np.abs(reduced), 0.0)

"""Oracles as users name them: `maskgap.oracles`. Native libraries are imported as one is made."""

from collections.abc import Callable
from math import inf
from os import PathLike
from pathlib import Path
from typing import Any, Literal

import numpy as np
from numpy.typing import ArrayLike

from maskgap.instances.arrays import Vector
from maskgap.instances.errors import InputError
from maskgap.instances.numbers import finite, number, reals, whole
from maskgap.solvers.oracles.mixed.budget import BudgetSet
from maskgap.solvers.oracles.mixed.closed import BirkhoffSet, FunctionSet
from maskgap.solvers.oracles.mixed.linear_set import LinearSet, linear_set
from maskgap.solvers.oracles.mixed.protocol import SetOracle, space_of

MilpSolver = Literal["highs", "scip"]


def milp(
    A: ArrayLike,
    row_lower: ArrayLike,
    row_upper: ArrayLike,
    lower: ArrayLike,
    upper: ArrayLike,
    integrality: ArrayLike = 0,
    solver: MilpSolver = "highs",
) -> SetOracle:
    """The set row_lower <= A x <= row_upper, lower <= x <= upper, some variables whole.

    A: (m, n), dense or scipy sparse. The sides: (m,), bounds: (n,), or one number for all; infinite
    where there is none. integrality: (n,) or one number, 0 continuous, 1 whole, as in
    `scipy.optimize.milp`. Raises InputError.
    """
    return _native(linear_set(A, (row_lower, row_upper), (lower, upper), integrality), solver)


def model_file(path: str | Path, solver: MilpSolver = "highs") -> SetOracle:
    """The set of an LP or MPS file, its objective passed over. Raises InputError."""
    from maskgap.solvers.oracles.mixed.files import set_of_file

    if not isinstance(path, str | PathLike):
        raise InputError(f"path: expected the name of a file, not {type(path).__name__}")
    return _native(set_of_file(path), solver)


def highs(model: Any) -> SetOracle:
    """The set that a `highspy.Highs` model holds now. Raises InputError."""
    from maskgap.solvers.oracles.mixed.files import set_of_model

    return _native(set_of_model(model), "highs")


def scip(model: Any) -> SetOracle:
    """The set that a `pyscipopt.Model` holds; the model is the oracle's own from then on.

    Variables come in the order in which they were added. Constraints may be nonlinear, as long as
    fixing all whole variables leaves a convex set. Raises InputError for other kinds of variables.
    """
    from maskgap.solvers.oracles.mixed.scip import ScipSet

    return ScipSet(model)


def box(lower: ArrayLike, upper: ArrayLike, integrality: ArrayLike = 0) -> SetOracle:
    """The box lower <= x <= upper, (n,) or one number, all whole or none. Raises InputError."""
    n = max(reals("lower", lower).size, reals("upper", upper).size)
    return BudgetSet(space_of(lower, upper, integrality, n))


def simplex(n: int, total: float = 1.0, integrality: int = 0, at_most: bool = False) -> SetOracle:
    """Points x >= 0 (n,) of sum `total`, or at most that; whole for integrality 1.

    Raises InputError.
    """
    n, total = whole("n", n, 1), number("total", total, 0.0)
    space = space_of(np.zeros(n), np.full(n, total), integrality)
    return BudgetSet(space, -inf if at_most else total, total)


def hypersimplex(n: int, k: int) -> SetOracle:
    """Binary x (n,) with k ones. Raises InputError."""
    n, k = whole("n", n, 1), whole("k", k, 0)
    if k > n:
        raise InputError(f"k: {k} ones of {n} variables")
    return BudgetSet(space_of(np.zeros(n), np.ones(n), 1), k, k)


def cardinality(n: int, k: int) -> SetOracle:
    """Binary x (n,) with k ones at most. Raises InputError."""
    n, k = whole("n", n, 1), whole("k", k, 0)
    return BudgetSet(space_of(np.zeros(n), np.ones(n), 1), -inf, k)


def knapsack(
    weights: ArrayLike,
    capacity: float,
    upper: ArrayLike = 1.0,
    integrality: ArrayLike = 1,
    solver: MilpSolver = "highs",
) -> SetOracle:
    """0 <= x <= upper with weights . x <= capacity. weights: (n,). Raises InputError."""
    row = finite("weights", weights, 1)[None, :]
    return milp(row, -inf, number("capacity", capacity), 0.0, upper, integrality, solver)


def birkhoff(order: int) -> SetOracle:
    """Permutation matrices (order, order), row by row in order^2 variables. Raises InputError."""
    return BirkhoffSet(whole("order", order, 1))


def function(
    call: Callable[[Vector, Vector, Vector], Any],
    bounds: tuple[ArrayLike, ArrayLike],
    integrality: ArrayLike = 0,
    violation: Callable[[Vector], float] | None = None,
) -> SetOracle:
    """A set that a callable knows.

    call: (direction, lower, upper), (n,) each -> a least point of the set within these bounds, or
    the point and a lower bound on the minimum, or None where the bounds leave none. bounds: of all
    points, (n,) each. violation: point -> by how much it misses the set, None where that is not
    known: then `call` is asked for a point nearby. Raises InputError.
    """
    for name, given in (("call", call), ("violation", violation)):
        if not callable(given) and (name == "call" or given is not None):
            raise InputError(f"{name}: expected a callable, not {type(given).__name__}")
    try:
        lower, upper = bounds
    except (TypeError, ValueError):
        raise InputError("bounds: expected (lower, upper)") from None
    return FunctionSet(call, space_of(lower, upper, integrality), violation)


def _native(rows: LinearSet, solver: str) -> SetOracle:
    if solver == "highs":
        from maskgap.solvers.oracles.mixed.highs import HighsSet

        return HighsSet(rows)
    if solver == "scip":
        from maskgap.solvers.oracles.mixed.scip import ScipSet, scip_model

        return ScipSet(scip_model(rows))
    raise InputError(f"no solver of linear sets is called '{solver}'; there are highs, scip")

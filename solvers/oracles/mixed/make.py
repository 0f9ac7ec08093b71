"""Oracles as users name them: `maskgap.oracles`."""

from typing import Literal

from numpy.typing import ArrayLike

from maskgap.instances.errors import InputError
from maskgap.solvers.oracles.mixed.linear_set import linear_set
from maskgap.solvers.oracles.mixed.protocol import SetOracle

MilpSolver = Literal["highs"]


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
    rows = linear_set(A, (row_lower, row_upper), (lower, upper), integrality)
    if solver == "highs":
        from maskgap.solvers.oracles.mixed.highs import HighsSet

        return HighsSet(rows)
    raise InputError(f"no solver of linear sets is called '{solver}'; there is highs")

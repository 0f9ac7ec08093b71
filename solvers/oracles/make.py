"""Oracles of the masks of a part, by name.

    closed-form   a sort a group; the bound is the minimum, rounded to the nearest float64. For sets
                  other than equal budget groups, the oracle that the set itself has: the same, less
                  a margin for rounding (`oracles.own`)
    highs, scip   the same set as a mixed-integer model, for a solver that only sees rows and bounds
    relaxation    the linear relaxation of the set's rows, a larger hull, to compare with

Where the hull of Z is its linear relaxation (`MaskSet.integral`), no oracle gives a better bound
than the relaxation would. Cost budgets and overlapping caps are not such sets.
"""

from typing import Literal, get_args

from maskgap.instances.errors import InputError
from maskgap.instances.masks.protocol import MaskSet
from maskgap.solvers.oracles.closed_form import ClosedForm
from maskgap.solvers.oracles.own import OwnOracle
from maskgap.solvers.oracles.protocol import Oracle
from maskgap.solvers.protocol import Deadline

OracleName = Literal["closed-form", "highs", "scip"]
ORACLES: tuple[OracleName, ...] = get_args(OracleName)
"""Kinds that minimise over the legal masks themselves."""

RELAXATION = "relaxation"


def exact_oracle(legal: MaskSet) -> Oracle:
    """The oracle that needs no native solver."""
    groups = legal.equal_groups
    return OwnOracle(legal) if groups is None else ClosedForm(groups)


def make_oracle(kind: str, legal: MaskSet, deadline: Deadline, threads: int = 1) -> Oracle:
    """An oracle of one of the ORACLES or RELAXATION; a native library is imported here.

    deadline: what the calls of native solvers may use, together. threads: of HiGHS; the others use
    one. Raises InputError for another kind.
    """
    if kind == "closed-form":
        return exact_oracle(legal)
    if kind == "highs":
        from maskgap.solvers.oracles.highs import HighsOracle

        return HighsOracle(legal, deadline, threads)
    if kind == "scip":
        from maskgap.solvers.oracles.scip import ScipOracle

        return ScipOracle(legal, deadline)
    if kind == RELAXATION:
        from maskgap.solvers.oracles.relaxation import RelaxationOracle

        return RelaxationOracle(legal, deadline)
    raise InputError(f"no oracle is called '{kind}'; there are {', '.join(ORACLES)}")

"""Compiling the kernels of the search by pivots ahead of a search, by one of two variables."""

from functools import cache
from math import inf

import numpy as np

from maskgap.solvers.convex.incumbent import Incumbent
from maskgap.solvers.convex.pivoting.engine import PivotingSearch
from maskgap.solvers.convex.rules import Rules
from maskgap.solvers.convex.watched import Known, Watched
from maskgap.solvers.objectives.protocol import Quadratic
from maskgap.solvers.oracles.mixed.budget import BudgetSet
from maskgap.solvers.oracles.mixed.linear_set import linear_set
from maskgap.solvers.oracles.mixed.protocol import CountedSet


@cache
def warm_up() -> None:
    """Compile the kernels, or load them."""
    rows = linear_set([[1.0, 1.0]], (0.5, 1.0), (0.0, 1.0), 1)
    form = Quadratic(np.eye(2), np.array([-0.8, -0.6]), 0.0)
    function, oracle = Watched(form.at, 2, Known(quadratic=form)), BudgetSet(rows.space)
    incumbent = Incumbent(function, oracle, 1e-6, (0.0, 0.0))
    rules = Rules(inf, inf, "hybrid", 1, lambda: None)
    PivotingSearch(function, CountedSet(oracle), incumbent, rules, rows).run()

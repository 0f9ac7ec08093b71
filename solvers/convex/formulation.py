"""The problem that is searched for the one that was given.

Where binaries of a linear set switch the other variables, and the objective is strongly convex in
those, it is one over the binaries alone (`convex.switched`), whose relaxation is much closer. Else
it is the problem itself, with rows for switches that were declared.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np

from maskgap.instances.arrays import Vector
from maskgap.instances.errors import InputError, Refused
from maskgap.instances.numbers import finite
from maskgap.solvers.convex.switched.declared import (
    Switches,
    checked_switches,
    missed_switches,
    with_rows,
)
from maskgap.solvers.convex.switched.problem import smooth_switched, switched
from maskgap.solvers.convex.watched import Known, Watched
from maskgap.solvers.objectives.convex.quadratic import QuadraticObjective
from maskgap.solvers.objectives.convex.smooth import SmoothObjective
from maskgap.solvers.oracles.mixed.highs import HighsSet
from maskgap.solvers.oracles.mixed.protocol import SetOracle

LARGEST = 1e300
"""Of the values of a quadratic on a set."""


@dataclass(frozen=True, eq=False, slots=True)
class Formulation:
    """What is searched, and how it goes with the problem given.

    lift: from points of it to those of the problem given, lower: the way back. value: f, as given.
    violation: by how much a point of the problem given misses its set and its switches.
    """

    function: Watched
    oracle: SetOracle
    lift: Callable[[Vector], Vector]
    lower: Callable[[Vector], Vector]
    value: Callable[[Vector], float]
    violation: Callable[[Vector], float]


def formulate(f: Any, oracle: SetOracle, given: Any = None) -> Formulation:
    """What is searched for f over a set. given: switches as declared, None for none.

    Raises InputError where f is no objective of it, or switches are none of it.
    """
    watched = _watched(f, oracle)
    declared: Switches = {} if given is None else checked_switches(given, oracle.space)
    found = None
    if isinstance(oracle, HighsSet):
        if isinstance(f, QuadraticObjective):
            found = switched(f, oracle.rows, declared)
        else:
            found = smooth_switched(watched, oracle.rows, declared)
    elif declared:
        raise InputError("switches: expected a set of maskgap.oracles.milp by HiGHS")

    def violation(x: Vector) -> float:
        return max(oracle.violation(x), missed_switches(declared, x))

    if found is None:
        searched = oracle
        if declared and isinstance(oracle, HighsSet):
            searched = HighsSet(with_rows(oracle.rows, declared))
        return Formulation(watched, searched, lambda x: x, lambda x: x, watched.value, violation)
    value, z = found.value, found.switches
    over = Watched(value.at, int(z.sum()), Known(model=value.model), compared=False)
    return Formulation(over, found.oracle, found.lift, lambda x: x[z], watched.value, violation)


def _watched(f: Any, oracle: SetOracle) -> Watched:
    """F with what is known of it. Raises InputError where it is no objective of the set."""
    n = oracle.space.n
    if isinstance(f, QuadraticObjective):
        if len(f.quadratic.linear) != n:
            raise InputError(f"f has {len(f.quadratic.linear)} variables, the set has {n}")
        _check_range(f, oracle)
        return Watched(f, n, Known(quadratic=f.quadratic))
    if isinstance(f, SmoothObjective):
        if f.n != n:
            raise InputError(f"f has {f.n} variables, the set has {n}")
        return Watched(f, n, Known(model=f.model, diagonal=_stated(f)))
    if not callable(f):
        raise InputError("f: expected a callable x -> (value, gradient)")
    return Watched(f, n)


def _stated(f: SmoothObjective) -> Vector | None:
    """The diagonal of a smooth objective, checked."""
    if f.diagonal is None:
        return None
    diagonal = finite("f.diagonal", f.diagonal)
    if diagonal.shape != (f.n,) or (diagonal < 0.0).any():
        raise InputError(f"f.diagonal: expected ({f.n},) numbers from 0 on")
    return diagonal


def _check_range(f: QuadraticObjective, oracle: SetOracle) -> None:
    """Raises Refused where sums of products of f on the set may leave the range of float64."""
    form, bounds = f.quadratic, np.concatenate([oracle.space.lower, oracle.space.upper])
    reach = float(np.abs(bounds[np.isfinite(bounds)]).max(initial=1.0))
    with np.errstate(over="ignore"):
        size = float(np.abs(form.matrix).sum()) * reach * reach
        size += float(np.abs(form.linear).sum()) * reach + abs(form.constant)
    if not size < LARGEST:
        raise Refused("f: its values on the set leave the range of float64; scale it")

"""The problem that is searched for the one that was given.

Where a quadratic has variables that binaries of a linear set switch, it is one over the binaries
alone (`convex.switched`), whose relaxation is much closer. Else it is the problem itself.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np

from maskgap.instances.arrays import Vector
from maskgap.instances.errors import InputError, Refused
from maskgap.instances.numbers import finite
from maskgap.solvers.convex.switched.structure import Switched, switched
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
    """

    function: Watched
    oracle: SetOracle
    lift: Callable[[Vector], Vector]
    lower: Callable[[Vector], Vector]
    value: Callable[[Vector], float]


def formulate(f: Any, oracle: SetOracle) -> Formulation:
    """What is searched for f over a set. Raises InputError where f is no objective of it."""
    n = oracle.space.n
    if isinstance(f, QuadraticObjective):
        if len(f.quadratic.linear) != n:
            raise InputError(f"f has {len(f.quadratic.linear)} variables, the set has {n}")
        _check_range(f, oracle)
        if isinstance(oracle, HighsSet):
            found = switched(f, oracle.rows)
            if found is not None:
                return _over_switches(f, found)
        watched = Watched(f, n, Known(quadratic=f.quadratic))
    elif isinstance(f, SmoothObjective):
        if f.n != n:
            raise InputError(f"f has {f.n} variables, the set has {n}")
        watched = Watched(f, n, Known(model=f.model, diagonal=_stated(f)))
    elif callable(f):
        watched = Watched(f, n)
    else:
        raise InputError("f: expected a callable x -> (value, gradient)")
    return Formulation(watched, oracle, lambda x: x, lambda x: x, watched.value)


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


def _over_switches(f: QuadraticObjective, found: Switched) -> Formulation:
    value = found.value
    watched = Watched(value.at, int(found.switches.sum()), Known(model=value.model))
    return Formulation(
        watched, found.oracle, found.lift, lambda x: x[found.switches], lambda x: f(x)[0]
    )

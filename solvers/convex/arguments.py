"""What `minimise` was asked for, checked: one line of InputError for what it cannot be."""

from collections.abc import Callable
from dataclasses import dataclass
from math import inf
from typing import get_args

import numpy as np

from maskgap.instances.arrays import Vector
from maskgap.instances.errors import InputError
from maskgap.instances.numbers import finite, number, whole
from maskgap.instances.suggestions import did_you_mean
from maskgap.solvers.convex.result import Branching, MinimiseOptions, State
from maskgap.solvers.oracles.mixed.protocol import SetOracle, Space

FEASIBILITY = 1e-6


@dataclass(frozen=True, eq=False, slots=True)
class Asked:
    """gaps: relative, absolute. time_limit: seconds. node_limit: infinite for none.

    start: (n,) or None. The others as in `MinimiseOptions`.
    """

    gaps: tuple[float, float]
    time_limit: float
    threads: int
    node_limit: float
    start: Vector | None
    branching: str
    feasibility: float
    log: bool
    callback: Callable[[State], object] | None


def checked(
    oracle: SetOracle, gap: float, time_limit: float, threads: int, more: MinimiseOptions
) -> Asked:
    """What was asked for. Raises InputError."""
    if not isinstance(oracle, SetOracle) or not isinstance(oracle.space, Space):
        raise InputError(f"oracle: expected one of maskgap.oracles, not {type(oracle).__name__}")
    known = MinimiseOptions.__annotations__
    for name in more:
        if name not in known:
            raise InputError(
                f"no option is called '{name}'; there are {', '.join(known)}"
                f"{did_you_mean(name, known)}"
            )
    rule, limit = more.get("branching", "hybrid"), more.get("node_limit")
    rules = get_args(Branching)
    if not isinstance(rule, str) or rule not in rules:
        raise InputError(f"branching: no rule is called '{rule}'; there are {', '.join(rules)}")
    log, callback = more.get("log", False), more.get("callback")
    if not isinstance(log, bool | np.bool_):
        raise InputError("log: expected True or False")
    if callback is not None and not callable(callback):
        raise InputError(f"callback: expected a callable, not {type(callback).__name__}")
    seconds = number("time_limit", time_limit, endless=True)
    if not seconds > 0.0:
        raise InputError(f"time_limit: expected seconds above 0, not {seconds:g}")
    return Asked(
        (number("gap", gap, 0.0), number("absolute_gap", more.get("absolute_gap", 0.0), 0.0)),
        seconds,
        whole("threads", threads, 1),
        inf if limit is None else whole("node_limit", limit, 0),
        _start(more, oracle.space.n),
        rule,
        number("feasibility", more.get("feasibility", FEASIBILITY), 0.0),
        bool(log),
        callback,
    )


def _start(more: MinimiseOptions, n: int) -> Vector | None:
    given = more.get("start")
    if given is None:
        return None
    start = finite("start", given)
    if start.shape != (n,):
        raise InputError(f"start: expected ({n},), not {start.shape}")
    return start

"""Minimise any convex function over a mixed-integer set, with a bound and its gap.

    result = maskgap.minimise(f, oracle)      f: x -> (value, gradient)
    result.x, result.objective, result.bound, result.gap

The set is an oracle (`maskgap.oracles`). The method is branch and bound with Frank-Wolfe node
problems (`convex.search`). The point returned is feasible to the tolerance asked for, and its value
is evaluated anew; its bound is *claimed*: nothing but this search derives it.
"""

from math import inf
from typing import Any, Unpack, get_args

import numpy as np

from maskgap.instances.arrays import Vector
from maskgap.instances.errors import InputError
from maskgap.solvers.convex.formulation import formulate
from maskgap.solvers.convex.incumbent import Incumbent
from maskgap.solvers.convex.log import Log
from maskgap.solvers.convex.pivoting.engine import PivotingSearch, suits
from maskgap.solvers.convex.pivoting.warm import warm_up as warm_up_pivots
from maskgap.solvers.convex.result import (
    ENDED,
    Branching,
    Ended,
    Minimised,
    MinimiseOptions,
    State,
    relative_gap,
)
from maskgap.solvers.convex.rules import Rules
from maskgap.solvers.convex.search import Search
from maskgap.solvers.convex.watched import Unsound
from maskgap.solvers.frank_wolfe.steps import warm_up as warm_up_steps
from maskgap.solvers.kernels.announce import announced
from maskgap.solvers.kernels.cache import clock
from maskgap.solvers.oracles.mixed.highs import HighsSet
from maskgap.solvers.oracles.mixed.protocol import CountedSet, SetOracle

FEASIBILITY = 1e-6


def minimise(
    f: Any,
    oracle: SetOracle,
    *,
    gap: float = 1e-6,
    time_limit: float = 60.0,
    threads: int = 1,
    **more: Unpack[MinimiseOptions],
) -> Minimised:
    """Minimise f over a set until objective and bound differ by `gap` times |objective|.

    f: x (n,) float64 -> value, gradient (n,); convex and smooth on the hull of the set, or one of
    `maskgap.objectives`, which state more. oracle: of `maskgap.oracles`, or any `SetOracle`. gap:
    relative, 0 allowed. time_limit: seconds, wall. threads: at most so many. more: see
    `MinimiseOptions`. Returns a `Minimised`; a set without points, and an objective that is not
    convex or no number, are reported there (`stop`), and then no bound is given. An interrupt from
    the keyboard ends the search with what it has. Raises InputError for bad options or an f that
    returns something else, Refused where the set is unbounded.
    """
    start = clock()
    options = _checked(more, oracle.space.n)
    gaps = gap, options.get("absolute_gap", 0.0)
    feasibility = options.get("feasibility", FEASIBILITY)
    tolerances = {"gap": gap, "absolute_gap": gaps[1], "feasibility": feasibility}
    for name, value in tolerances.items():
        if not value >= 0.0:
            raise InputError(f"{name}: {value} is no tolerance; expected a number from 0 on")
    if not time_limit > 0.0 or threads < 1:
        raise InputError("time_limit and threads have to be positive")
    seen = formulate(f, oracle)
    function, counted = seen.function, CountedSet(seen.oracle)
    incumbent = Incumbent(function, seen.oracle, feasibility, gaps)
    pivots = isinstance(seen.oracle, HighsSet) and suits(function, seen.oracle)
    before = clock()
    with announced():
        (warm_up_pivots if pivots else warm_up_steps)()
    start += clock() - before  # loading what is compiled is off the clock as well
    end = start + time_limit
    seen.oracle.expire_with(lambda: end - clock())
    ended: list[Ended] = []
    limit = options.get("node_limit")
    rules = Rules(
        end,
        inf if limit is None else limit,
        options.get("branching", "hybrid"),
        threads,
        lambda: ended[0] if ended else None,
    )
    search: Search | PivotingSearch
    if pivots and isinstance(seen.oracle, HighsSet):
        search = PivotingSearch(function, counted, incumbent, rules, seen.oracle.rows)
    else:
        search = Search(function, counted, incumbent, rules)
    log, callback = Log(options.get("log", False)), options.get("callback")

    def improved() -> None:
        state = State(
            clock() - start, search.nodes, search.open_nodes,
            incumbent.value, incumbent.bound,
        )  # fmt: skip
        log.line(state)
        answer = None if callback is None else callback(state)
        if isinstance(answer, bool | np.bool_) and answer:
            ended.append(Ended.INTERRUPTED)

    incumbent.improved = improved
    message = ""
    try:
        given = options.get("start")
        if given is not None:
            incumbent.offer(seen.lower(np.asarray(given, dtype=np.float64)))
        stop = search.run()
    except Unsound as found:
        stop, message = Ended.UNSOUND, str(found)
    except KeyboardInterrupt:
        stop = Ended.INTERRUPTED
    finally:
        seen.oracle.expire_with(lambda: inf)  # it is the user's, and goes on
    bound = {Ended.UNSOUND: -inf, Ended.INFEASIBLE: inf}.get(stop, search.bound())
    x, objective, violation = None, inf, inf
    if incumbent.x is not None:
        x = seen.lift(incumbent.x)
        violation = oracle.violation(x)
        try:
            objective = seen.value(x)
        except Unsound as found:
            stop, message = Ended.UNSOUND, str(found)
        except KeyboardInterrupt:
            stop, objective = Ended.INTERRUPTED, incumbent.value
        if stop is Ended.UNSOUND:
            bound = -inf
        bound = min(bound, objective)
    if stop is Ended.GAP and not (
        violation <= feasibility and objective - bound <= incumbent.allowed(objective)
    ):
        stop = Ended.STALLED  # what was found there is less here
    return Minimised(
        x, objective, bound, "claimed" if abs(bound) < inf else "none",
        relative_gap(objective, bound), stop, message or ENDED[stop], search.nodes, counted.calls,
        function.calls, clock() - start, counted.seconds, search.root_bound, violation,
        tuple(incumbent.trace),
    )  # fmt: skip


def _checked(more: MinimiseOptions, n: int) -> MinimiseOptions:
    known = MinimiseOptions.__annotations__
    for name in more:
        if name not in known:
            raise InputError(f"no option is called '{name}'; there are {', '.join(known)}")
    rule, limit = more.get("branching", "hybrid"), more.get("node_limit")
    if rule not in (rules := get_args(Branching)):
        raise InputError(f"branching: no rule is called '{rule}'; there are {', '.join(rules)}")
    if limit is not None and not limit >= 0:
        raise InputError(f"node_limit: {limit}, expected a number from 0 on, or None")
    given: Vector | None = None
    if more.get("start") is not None:
        given = np.asarray(more["start"], dtype=np.float64)
        if given.shape != (n,) or not np.isfinite(given).all():
            raise InputError(f"start: expected ({n},) finite numbers")
    return more

"""Minimise any convex function over a mixed-integer set, with a bound and its gap.

    result = maskgap.minimise(f, oracle)      f: x -> (value, gradient)
    result.x, result.objective, result.bound, result.gap

The set is an oracle (`maskgap.oracles`). The method is branch and bound with Frank-Wolfe node
problems (`convex.search`). The point returned is feasible to the tolerance asked for, and its value
is evaluated anew; its bound is *claimed*: nothing but this search derives it.
"""

from collections.abc import Callable
from math import inf
from typing import Any, Unpack

import numpy as np

from maskgap.solvers.convex.arguments import Asked, checked
from maskgap.solvers.convex.formulation import Formulation, formulate
from maskgap.solvers.convex.incumbent import Incumbent
from maskgap.solvers.convex.log import Log
from maskgap.solvers.convex.pivoting.engine import PivotingSearch, suits
from maskgap.solvers.convex.pivoting.warm import warm_up as warm_up_pivots
from maskgap.solvers.convex.result import (
    ENDED,
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

AnySearch = Search | PivotingSearch


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
    the keyboard ends the search with what it has. Raises InputError for bad arguments, and an f or
    oracle that returns something else, Refused where the set is unbounded.
    """
    start = clock()
    asked = checked(oracle, gap, time_limit, threads, more)
    seen = formulate(f, oracle, more.get("switches"))
    counted = CountedSet(seen.oracle)
    incumbent = Incumbent(
        seen.function, seen.oracle, asked.feasibility, asked.gaps,
        lambda point: seen.value(seen.lift(point)),
    )  # fmt: skip
    pivots = isinstance(seen.oracle, HighsSet) and suits(seen.function, seen.oracle)
    before = clock()
    with announced():
        (warm_up_pivots if pivots else warm_up_steps)()
    start += clock() - before  # loading what is compiled is off the clock as well
    end = start + asked.time_limit
    seen.oracle.expire_with(lambda: end - clock())
    ended: list[Ended] = []
    rules = Rules(
        end, asked.node_limit, asked.branching, asked.threads, lambda: ended[0] if ended else None
    )
    search: AnySearch
    if pivots and isinstance(seen.oracle, HighsSet):
        search = PivotingSearch(seen.function, counted, incumbent, rules, seen.oracle.rows)
    else:
        search = Search(seen.function, counted, incumbent, rules)
    incumbent.improved = _teller(asked, search, start, ended)
    message = ""
    try:
        if asked.start is not None:
            incumbent.offer(seen.lower(asked.start))
        stop = search.run()
    except Unsound as found:
        stop, message = Ended.UNSOUND, str(found)
    except KeyboardInterrupt:
        stop = Ended.INTERRUPTED
    finally:
        seen.oracle.expire_with(lambda: inf)  # it is the user's, and goes on
    return _result(seen, search, (stop, message), start)


def _teller(
    asked: Asked, search: AnySearch, start: float, ended: list[Ended]
) -> Callable[[], None]:
    """What is done as something improves: log, callback, and the end if that asks for it."""
    log = Log(asked.log)

    def improved() -> None:
        incumbent = search.incumbent
        state = State(
            clock() - start, search.nodes, search.open_nodes, incumbent.value, incumbent.bound
        )
        log.line(state)
        answer = None if asked.callback is None else asked.callback(state)
        if isinstance(answer, bool | np.bool_) and answer:
            ended.append(Ended.INTERRUPTED)

    return improved


def _result(
    seen: Formulation, search: AnySearch, end: tuple[Ended, str], start: float
) -> Minimised:
    """What a search ended with, its point evaluated anew. end: why, and in what words if any."""
    (stop, message), incumbent, counted = end, search.incumbent, search.oracle
    told = {Ended.UNSOUND: -inf, Ended.INFEASIBLE: inf, Ended.INFEASIBLE_CLAIMED: inf}
    bound = told.get(stop, search.bound())
    x, objective, violation = None, inf, inf
    if incumbent.x is not None:
        try:
            x = seen.lift(incumbent.x)
            violation = seen.violation(x)
            objective = seen.value(x)
        except Unsound as found:
            stop, message = Ended.UNSOUND, str(found)
        except KeyboardInterrupt:
            stop, objective = Ended.INTERRUPTED, incumbent.value
        if stop is Ended.UNSOUND:
            bound = -inf
        bound = min(bound, objective)
    if stop is Ended.GAP and not (
        violation <= incumbent.feasibility and objective - bound <= incumbent.allowed(objective)
    ):
        stop = Ended.STALLED  # what was found there is less here
    return Minimised(
        x, objective, bound, "claimed" if abs(bound) < inf else "none",
        relative_gap(objective, bound), stop, message or ENDED[stop], search.nodes, counted.calls,
        seen.function.calls, clock() - start, counted.seconds, search.root_bound, violation,
        tuple(incumbent.trace),
    )  # fmt: skip

"""Search beyond one swap: tabu walks with kicks, then populations that recombine (see `memetic`).

A descent by 1-swaps ends some percent above the optimum. Here walks go on past such optima, again
and again after random kicks of the best mask so far; then masks recombine in pairs, in populations
of 8, 16, ... up to `population` members, each begun with the best mask so far. A row ends when the
last population has converged, when several in a row found nothing, or after `max_swaps`. The first
walk alone is better than 1-swaps at any width: it takes 4 ms at 1536 columns and 25 ms at 4096.

Rows are independent and each is searched on one thread. A row's mask depends on its problem, its
number, the seed and the settings, not on the batch, the number of threads or the scale of weights
and Gram by powers of two; unless the deadline cuts its search short. Rows share what time is left:
each may take what is left for it and those after it, divided by their number over the threads.

On another device the rows of budgets of equal groups walk in step, as many together as a share of
its free memory takes (`memetic.batch`), for a number of kicks by `population`, and no recombination
follows; each batch of rows has its share of the time.

Under objective refit populations are of a quarter of the members, and what recombines are local
optima of the loss of re-optimised weights (`solvers.local_search.refit_swap`): a row of 384 columns
takes seconds.

Rows that a pattern couples are searched as one. Where the masks are not those of equal groups, the
same is done with the moves that keep them legal (`solvers.local_search.neighbours`).
"""

import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from itertools import count
from typing import Annotated

from pydantic import Field

from maskgap.instances.errors import Refused
from maskgap.instances.objective import ObjectiveName
from maskgap.instances.problem import Part, Problem
from maskgap.solvers.local_search.memetic import improve
from maskgap.solvers.local_search.neighbours import cycles
from maskgap.solvers.local_search.neighbours.answer import search_part
from maskgap.solvers.local_search.refit_swap import population as refit_population
from maskgap.solvers.local_search.terms import Loss, Terms, masks_of
from maskgap.solvers.one_shot.scores import starting_masks
from maskgap.solvers.protocol import Answer, Deadline, Limits
from maskgap.solvers.settings import Limit, WarmStart, settings

REFIT_SHARE = 4
"""By what members are divided under refit, where a descent costs some n times as much."""


@settings
class Search:
    """Populations of local optima that recombine."""

    warm_start: WarmStart = "wanda"
    """Score of the mask to start from, unless one is given; none: a random one."""
    population: Annotated[int, Field(ge=2)] = 128
    """Members of the last population; a quarter of them under objective refit."""
    max_swaps: Limit = -1
    """Swaps per row at most; -1: no limit."""
    loss: Loss = "objective"
    """What it goes by under objective refit: its loss, or that of a mask whose weights stay."""

    def warm_ups(self, objective: ObjectiveName) -> Sequence[Callable[[], object]]:
        """As `solvers.protocol.Compiled`."""
        if objective is ObjectiveName.MASK or self.loss == "mask":
            return improve.warm_up, cycles.warm_up
        return refit_population.warm_up, improve.warm_up, cycles.warm_up

    def solve_rows(self, problem: Problem, limits: Limits, seed: int) -> list[Answer]:
        """One answer a row, with its number of swaps and a trace of its loss.

        Rows whose turn has not come when the deadline ends keep their start and claim nothing.
        """
        if problem.objective.refits and self.loss == "mask":
            return masks_of(self, problem, limits, seed)
        begun = time.perf_counter()
        members = self.population
        if problem.objective.refits:
            members = max(2, members // REFIT_SHARE)
        with limits.journal.phase("build"):
            start = starting_masks(problem, self.warm_start, seed)
        if limits.device != "cpu" and not problem.objective.refits and problem.pattern.equal_rows:
            from maskgap.solvers.local_search.memetic.device import search_rows

            if start is None:
                raise Refused("search on a device needs a start: a score, random or a mask")
            common = Terms(None, [seed], members, self.max_swaps)
            return search_rows(problem, start, common, limits, begun)
        workers = max(1, min(limits.threads, len(problem)))
        turns = count()

        def go(row: Part) -> Answer:
            own = None if start is None else start[(row.row - problem.rows.start) // row.height]
            after = len(problem) - next(turns)
            share = min(1.0, workers / after) * limits.deadline.remaining()
            turn = Deadline(share)
            terms = Terms(own, [seed, row.row], members, self.max_swaps, turn.expired)
            if len(problem) == 1:
                # the harness keeps the mask of a run that is killed if it is of one row
                terms = replace(terms, report=limits.journal.incumbent)
            answer = search_part(row, terms, limits.deadline, begun)
            limits.journal.rows_done(row.height)
            return answer

        with ThreadPoolExecutor(workers) as pool:
            return list(pool.map(go, problem))

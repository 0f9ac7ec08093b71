"""Search of one part of a problem, by the neighbourhood that its set of masks asks for."""

from collections.abc import Callable, Sequence

import numpy as np

from maskgap.instances.arrays import Kept, Matrix, Pruned, kept_of, pruned_of
from maskgap.instances.layer import unit_exponent
from maskgap.instances.masks.groups import BudgetGroups
from maskgap.instances.masks.protocol import MaskSet
from maskgap.instances.problem import Part
from maskgap.solvers.local_search.memetic.improve import Found, improve
from maskgap.solvers.local_search.neighbours import population as populations
from maskgap.solvers.local_search.neighbours.cycles import Cycles
from maskgap.solvers.local_search.neighbours.exchanges import Exchanges
from maskgap.solvers.local_search.neighbours.reduced import Reduced


def improve_part(
    part: Part,
    start: Kept | None,
    seed: Sequence[int],
    population: int,
    max_moves: int = -1,
    expired: Callable[[], bool] = lambda: False,
    report: Callable[[Kept, float], None] = lambda mask, loss: None,
) -> Found:
    """Search as `memetic.improve.improve`, on any set of masks; losses are in the layer's units.

    Population 1 is one descent to a local optimum. Raises Refused for a part too large.
    """
    legal = part.legal
    groups = legal.equal_groups
    if groups is not None:
        return _scaled(
            lambda note: improve(
                part.quad, groups, start, seed, population, max_moves, expired, note
            ),
            part.rescale,
            report,
        )
    if legal.tile is not None:
        return _strip(part, legal, start, seed, population, max_moves, expired, report)
    reduced = Reduced.of(part.quad, legal)
    if not len(reduced.rows):
        return _budget(part, reduced, start, seed, population, max_moves, expired, report)
    local = Exchanges(reduced, legal)
    return _scaled(
        lambda note: populations.search(local, start, seed, population, max_moves, expired, note),
        part.rescale,
        report,
    )


def _scaled(
    search: Callable[[Callable[[Kept, float], None]], Found],
    rescale: Callable[[float], float],
    report: Callable[[Kept, float], None],
    lift: Callable[[Kept], Kept] = lambda mask: mask,
) -> Found:
    """Run a search whose masks and losses are brought back by `lift` and `rescale`."""
    found = search(lambda mask, loss: report(lift(mask), rescale(loss)))
    return Found(lift(found.mask), rescale(found.loss), found.swaps, found.finished)


def _strip(
    part: Part,
    legal: MaskSet,
    start: Kept | None,
    seed: Sequence[int],
    population: int,
    max_moves: int,
    expired: Callable[[], bool],
    report: Callable[[Kept, float], None],
) -> Found:
    """Tiles: the Gram serves all rows, so that no matrix of all pairs of entries is needed."""
    gram, gram_exponent = part.layer.gram_unit
    exponent = unit_exponent(float(np.abs(part.weight).max()))
    weight: Matrix = np.ldexp(part.weight, -exponent).reshape(part.height, -1)
    local = Cycles(gram, weight, legal)
    return _scaled(
        lambda note: populations.search(local, start, seed, population, max_moves, expired, note),
        lambda loss: float(np.ldexp(loss, 2 * exponent + gram_exponent)),
        report,
    )


def _budget(
    part: Part,
    reduced: Reduced,
    start: Kept | None,
    seed: Sequence[int],
    population: int,
    max_moves: int,
    expired: Callable[[], bool],
    report: Callable[[Kept, float], None],
) -> Found:
    """A budget over free blocks: equal groups, after a shift that keeps every loss positive.

    Adding s to each diagonal entry adds s times the number of pruned variables to every loss.
    """
    count = len(reduced.free)
    if not 0 < reduced.pruned < count:
        mask = kept_of(reduced.lift(Pruned(np.full(count, reduced.pruned > 0))))
        loss = part.loss(mask)
        report(mask, loss)
        return Found(mask, loss, 0, finished=True)
    shift = 0.0
    if reduced.forced.any():
        least = float(reduced.quad.diagonal().min())
        shift = max(0.0, -least) + float(np.abs(reduced.quad).mean())
    groups = BudgetGroups(count, count, reduced.pruned)
    own = None if start is None else kept_of(reduced.shrink(pruned_of(start)))
    return _scaled(
        lambda note: improve(
            reduced.quad + shift * np.eye(count), groups, own, seed, population, max_moves,
            expired, note,
        ),
        lambda loss: part.rescale(max(0.0, loss - shift * reduced.pruned + reduced.offset)),
        report,
        lambda mask: kept_of(reduced.lift(pruned_of(mask))),
    )  # fmt: skip

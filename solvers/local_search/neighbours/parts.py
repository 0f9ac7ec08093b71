"""Search of one part of a problem, by the neighbourhood that its set of masks asks for."""

from collections.abc import Callable
from dataclasses import replace

import numpy as np

from maskgap.instances.arrays import Kept, Matrix, Pruned, kept_of, pruned_of
from maskgap.instances.hessian import Hessian
from maskgap.instances.layer import unit_exponent
from maskgap.instances.masks.groups import BudgetGroups
from maskgap.instances.masks.protocol import MaskSet
from maskgap.instances.objective import MASK
from maskgap.instances.part import Part
from maskgap.solvers.local_search.memetic.best import Found
from maskgap.solvers.local_search.memetic.improve import improve
from maskgap.solvers.local_search.neighbours import population as populations
from maskgap.solvers.local_search.neighbours.cycles import Cycles
from maskgap.solvers.local_search.neighbours.exchanges import Exchanges
from maskgap.solvers.local_search.neighbours.reduced import Reduced
from maskgap.solvers.local_search.refit_swap.any_set import AnySet
from maskgap.solvers.local_search.refit_swap.population import search_row
from maskgap.solvers.local_search.terms import Terms


def improve_part(part: Part, terms: Terms) -> Found:
    """Search as `memetic.improve.improve`, on any set of masks; losses are in the layer's units.

    Population 1 is one descent to a local optimum. Raises Refused for a part too large.
    """
    legal = part.legal
    groups = legal.equal_groups
    if part.objective.refits:
        return _refit(part, terms)
    if groups is not None:
        return _scaled(lambda own: improve(part.quad, groups, own), terms, part.rescale)
    if legal.tile is not None:
        return _strip(part, legal, terms)
    reduced = Reduced.of(part.quad, legal)
    if not len(reduced.rows):
        return _budget(part, reduced, terms)
    local = Exchanges(reduced, legal)
    return _scaled(lambda own: populations.search(local, own), terms, part.rescale)


def _refit(part: Part, terms: Terms) -> Found:
    """By the loss of re-optimised weights; a search begins at where the mask loss leads, too."""
    groups = part.legal.equal_groups
    if groups is not None and part.height == 1:
        return _scaled(
            lambda own: search_row(part.hessian, part.target, groups, own), terms, part.rescale
        )
    matrix, _ = Hessian.of(part.layer, part.objective.ridge).unit
    local = AnySet(matrix, part.target.reshape(part.height, -1), part.legal)
    hints = []
    if terms.population > 1:
        plain = replace(terms, population=1, report=lambda mask, loss: None)
        hints.append(pruned_of(improve_part(part.under(MASK), plain).mask))
    return _scaled(lambda own: populations.search(local, own, hints), terms, part.rescale)


def _scaled(
    search: Callable[[Terms], Found],
    terms: Terms,
    rescale: Callable[[float], float],
    lift: Callable[[Kept], Kept] = lambda mask: mask,
) -> Found:
    """Run a search whose masks and losses are brought back by `lift` and `rescale`.

    terms: with the start in the terms of the search, and the report in those of the part.
    """

    def report(mask: Kept, loss: float) -> None:
        terms.report(lift(mask), rescale(loss))

    found = search(replace(terms, report=report))
    return Found(lift(found.mask), rescale(found.loss), found.swaps, found.finished)


def _strip(part: Part, legal: MaskSet, terms: Terms) -> Found:
    """Tiles: the Gram serves all rows, so that no matrix of all pairs of entries is needed."""
    gram, gram_exponent = part.layer.gram_unit
    exponent = unit_exponent(float(np.abs(part.weight).max()))
    weight: Matrix = np.ldexp(part.weight, -exponent).reshape(part.height, -1)
    local = Cycles(gram, weight, legal)
    return _scaled(
        lambda own: populations.search(local, own),
        terms,
        lambda loss: float(np.ldexp(loss, 2 * exponent + gram_exponent)),
    )


def _budget(part: Part, reduced: Reduced, terms: Terms) -> Found:
    """A budget over free blocks: equal groups, after a shift that keeps every loss positive.

    Adding s to each diagonal entry adds s times the number of pruned variables to every loss.
    """
    count = len(reduced.free)
    if not 0 < reduced.pruned < count:
        mask = kept_of(reduced.lift(Pruned(np.full(count, reduced.pruned > 0))))
        loss = part.loss(mask)
        terms.report(mask, loss)
        return Found(mask, loss, 0, finished=True)
    shift = 0.0
    if reduced.forced.any():
        least = float(reduced.quad.diagonal().min())
        shift = max(0.0, -least) + float(np.abs(reduced.quad).mean())
    groups = BudgetGroups(count, count, reduced.pruned)
    start = terms.start
    if start is not None:
        start = kept_of(reduced.shrink(pruned_of(start)))
    return _scaled(
        lambda own: improve(reduced.quad + shift * np.eye(count), groups, own),
        replace(terms, start=start),
        lambda loss: part.rescale(max(0.0, loss - shift * reduced.pruned + reduced.offset)),
        lambda mask: kept_of(reduced.lift(pruned_of(mask))),
    )

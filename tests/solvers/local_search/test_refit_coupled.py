"""swap and search under refit where masks are not those of equal groups of a row."""

import numpy as np
import pytest
from numpy.testing import assert_allclose

from maskgap.instances.arrays import Kept
from maskgap.instances.errors import Refused
from maskgap.instances.masks.groups import BudgetGroups
from maskgap.instances.masks.patterns import parse_pattern
from maskgap.instances.objective import objective_spec
from maskgap.instances.problem import Problem
from maskgap.solvers.local_search.neighbours.answer import search_part
from maskgap.solvers.local_search.neighbours.parts import improve_part
from maskgap.solvers.local_search.refit_swap import any_set
from maskgap.solvers.local_search.refit_swap.quadratic import Quadratic
from maskgap.solvers.local_search.refit_swap.walker import Walker
from maskgap.solvers.local_search.terms import Terms
from maskgap.solvers.protocol import Deadline, Stop
from tests.helpers.coupled import with_extras
from tests.helpers.tiny import random_layer

REFIT = objective_spec("refit", 0.01)
SINGLE = ["50%;cap=3/4", "50%;cost=45%", "50%;cost=44%;cap=4/6", "50%;forced", "keep=5;cap=2/4+2"]
WHOLE = ["50%;block=2", "50%;block=3;cost=60%", "2:4^T", "1:2^T", "layer:50%"]
HEIGHT = {"2:4^T": 4, "1:2^T": 2, "layer:50%": 3}
WIDTH = {"2:4^T": 4, "1:2^T": 6, "layer:50%": 5}


def part_of(text, seed):
    height, n = HEIGHT.get(text, 1), WIDTH.get(text, 12)
    layer = random_layer(seed, n, height)
    layer = layer if height > 1 else with_extras(layer, seed)
    return Problem.of(layer, parse_pattern(text), objective=REFIT).part_of(0)


def refit(part, kept):
    """The loss by least squares, row by row."""
    gram = part.layer.gram
    hessian = gram + 0.01 * gram.diagonal().mean() * np.eye(len(gram))
    root, total = np.linalg.cholesky(hessian).T, 0.0
    rows = zip(part.weight.reshape(part.height, -1), kept.reshape(part.height, -1), strict=True)
    for weight, mask in rows:
        own = np.linalg.lstsq(root[:, mask], root @ weight, rcond=None)[0]
        total += float(((root[:, mask] @ own - root @ weight) ** 2).sum())
    return total


def masks_of(part):
    return [Kept(~pruned) for block in part.legal.enumerate_pruned() for pruned in block]


@pytest.mark.parametrize("text", [*SINGLE, *WHOLE])
@pytest.mark.parametrize("seed", range(3))
def test_search_finds_the_optimum_of_brute_force(text, seed):
    part = part_of(text, seed)
    found = improve_part(part, Terms(None, [seed], 32))
    assert found.finished
    assert part.legal.is_legal(found.mask)
    assert_allclose(found.loss, refit(part, found.mask), rtol=1e-9)
    assert_allclose(found.loss, min(refit(part, mask) for mask in masks_of(part)), rtol=1e-8)


@pytest.mark.parametrize("text", [*SINGLE, *WHOLE])
@pytest.mark.parametrize("seed", range(3))
def test_no_legal_exchange_improves_the_end_of_a_descent(text, seed):
    """Of two columns, of two blocks, or of four entries of a tile."""
    part = part_of(text, seed)
    start = part.legal.prune_lowest(np.random.default_rng(seed).random(part.n))
    found = improve_part(part, Terms(start, [0], 1))
    assert found.finished
    assert found.loss <= refit(part, start) * (1 + 1e-12)
    away = 4 if text.endswith("T") else 2 * part.legal.block
    for mask in masks_of(part):
        if (mask != found.mask).sum() == away:
            assert refit(part, mask) >= found.loss * (1 - 1e-9)


@pytest.mark.parametrize("size", [1, 2, 3])
def test_exchanges_of_blocks_cost_the_difference_of_two_refits(size):
    part = part_of("50%;forced", 4)
    quadratic = Quadratic.of(part.hessian, part.target, BudgetGroups(12, 12, 0))
    walker, random = Walker(quadratic), np.random.default_rng(9)
    for _ in range(5):
        kept = np.repeat(random.permutation(12 // size) < 6 // size, size)
        walker.go(kept)
        blocks = np.arange(12).reshape(-1, size)
        ours, others = blocks[kept[::size]], blocks[~kept[::size]]
        changes = walker.exchanges(ours, others)
        for a, block in enumerate(ours):
            for b, other in enumerate(others):
                mask = kept.copy()
                mask[block], mask[other] = False, True
                change = part.rescale(changes[a, b])
                wanted = refit(part, mask) - refit(part, kept)
                assert_allclose(change, wanted, rtol=1e-8, atol=1e-9 * refit(part, kept))
                columns = np.sort(np.concatenate([block, other]))
                assert_allclose(part.rescale(walker.change(columns)), change, rtol=1e-8, atol=1e-9)


def test_exchanges_between_rows_move_a_shared_budget():
    layer = random_layer(5, 8, 4)
    weight = layer.weight * np.array([[8.0], [1.0], [1.0], [0.2]])
    part = Problem.of(
        type(layer).from_arrays(weight, layer.gram), parse_pattern("layer:50%"), objective=REFIT
    ).part_of(0)
    start = part.legal.prune_lowest(np.tile(np.arange(8.0), 4))
    assert (start.reshape(4, 8).sum(axis=1) == 4).all()
    found = improve_part(part, Terms(start, [0], 1))
    kept = found.mask.reshape(4, 8).sum(axis=1)
    assert kept.sum() == 16
    assert kept[0] > 4 > kept[3]
    for j in np.flatnonzero(found.mask):
        for i in np.flatnonzero(~found.mask):
            other = found.mask.copy()
            other[j], other[i] = False, True
            assert refit(part, other) >= found.loss * (1 - 1e-9)


@pytest.mark.parametrize("text", ["50%;cap=3/4", "2:4^T", "layer:50%", "50%;block=2"])
def test_limits_and_seeds(text):
    part = part_of(text, 7)
    start = part.legal.prune_lowest(np.random.default_rng(8).random(part.n))
    for most in (0, 1, 2):
        found = improve_part(part, Terms(start, [0], 1, most))
        assert found.swaps <= most
        assert part.legal.is_legal(found.mask)
        assert_allclose(found.loss, refit(part, found.mask), rtol=1e-9)
    again = [improve_part(part, Terms(start, [3], 16)) for _ in range(2)]
    assert (again[0].mask == again[1].mask).all()
    assert again[0].swaps == again[1].swaps
    late = improve_part(part, Terms(start, [0], 16, expired=lambda: True))
    assert not late.finished
    assert late.swaps == 0
    answer = search_part(part, Terms(start, [0], 16), Deadline(0.0), 0.0)
    assert answer.stop is Stop.TIME
    assert (answer.mask == start).all()


def test_tableaus_that_would_be_too_large_are_refused(monkeypatch):
    monkeypatch.setattr(any_set, "LARGEST_TABLES", 100)
    with pytest.raises(Refused, match="fewer --rows"):
        improve_part(part_of("layer:50%", 1), Terms(None, [0], 1))

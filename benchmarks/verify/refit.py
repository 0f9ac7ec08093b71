"""Check a tree whose leaves are bounded where kept weights are re-optimised.

Each leaf names a diagonal D and a point; with the columns that D drops, they give an affine
function that no mask of the leaf has a loss below (`benchmarks.verify.perspective`), whose least
value over the leaf's masks bounds the leaf. That D drops no column that a mask of the leaf may keep
is seen at each leaf; that the leaves partition the legal set, while the tree is walked
(`benchmarks.verify.tree`).

Of a row that shares its budget with others, the evidence is one leaf, with a diagonal that drops
nothing. Each of its points gives const and c_j that hold for all masks, so with c sorted

    b(k) = max over points of  const + (sum of the k smallest c_j),          k pruned columns.
"""

from collections.abc import Iterator
from typing import Any

import numpy as np

from maskgap.benchmarks.verify.clock import Clock
from maskgap.benchmarks.verify.form import array_fault, number_fault
from maskgap.benchmarks.verify.perspective import Metric, blocks_of
from maskgap.benchmarks.verify.quadratic import least_rescaled, rescaled_down
from maskgap.benchmarks.verify.sets import checked_set
from maskgap.benchmarks.verify.tree import walk
from maskgap.instances.arrays import Matrix, Vector
from maskgap.instances.errors import ProofError
from maskgap.instances.formats.evidence.refit_leaves import RefitLeaves
from maskgap.instances.problem import Part


def refit_faults(problem: Part, tree: RefitLeaves) -> Iterator[str]:
    """What is wrong with the form of a tree; later faults may rest on earlier ones."""
    n = problem.n
    count = len(tree.diagonals) if np.ndim(tree.diagonals) == 2 else None
    arrays: tuple[tuple[str, Any, Any, tuple[int | None, ...]], ...] = (
        ("diagonals", tree.diagonals, np.float64, (None, n)),
        ("dropped", tree.dropped, np.bool_, (count, n)),
        ("branch", tree.branch, np.int32, (None,)),
        ("function", tree.function, np.int32, (None,)),
        ("point", tree.point, np.int32, (None,)),
        ("points", tree.points, np.float64, (None, n)),
    )
    for name, array, dtype, shape in arrays:
        fault = array_fault(array, dtype, shape)
        if fault:
            yield f"{name}: {fault}"
    leaves = int((tree.branch == -1).sum())
    if not len(tree.function) == len(tree.point) == leaves:
        yield f"{len(tree.function)} functions and {len(tree.point)} points for {leaves} leaves"
    for name, index, held in (
        ("diagonal", tree.function, tree.diagonals),
        ("point", tree.point, tree.points),
    ):
        if len(index) and not 0 <= int(index.min()) <= int(index.max()) < len(held):
            yield f"a leaf names a {name} that is not there: they are {len(held)}"
    for name, array in (("diagonals", tree.diagonals), ("points", tree.points)):
        fault = number_fault(array)
        if fault:
            yield f"{name}: {fault}"


def refit_bound(problem: Part, tree: RefitLeaves, clock: Clock) -> tuple[float, int]:
    """The least bound of the leaves, in units of the layer's loss, and their number.

    tree: of a form that `refit_faults` has found right. Raises ProofError.
    """
    metric, own = Metric.of(problem), checked_set(problem)
    diagonals = _verified(metric, tree, clock)
    least, first = np.inf, 0
    for states in walk(problem, tree.branch):
        for block in blocks_of(len(states), problem.n):
            clock.look(f"row {problem.row}: {first} of {len(tree.function)} leaves are")
            some = states[block]
            here = slice(first, first + len(some))
            number = tree.function[here]
            dropped = tree.dropped[number]
            if bool((dropped & ~own.pruned_by_all(some)).any()):
                raise ProofError(
                    f"row {problem.row}: a leaf's diagonal drops a column that it may keep"
                )
            found = metric.minorants(
                diagonals[number],
                tree.points[tree.point[here]],
                dropped,
            )
            values = found.with_sum(own.least(found.slope, some, clock))
            if np.isnan(values).any():
                raise ProofError("a leaf's bound is not a number")
            least = min(least, float(values.min()))
            first += len(some)
    return least_rescaled(problem, least), first


def _verified(metric: Metric, tree: RefitLeaves, clock: Clock) -> Matrix:
    """The diagonals that leaves name, lowered until they are verified, and 1 for the others."""
    found = np.ones(tree.diagonals.shape)
    for seen, number in enumerate(np.unique(tree.function).tolist()):
        clock.look(f"{metric.where}: {seen} of its diagonals are")
        found[number] = metric.lowered(tree.diagonals[number], tree.dropped[number], number)
    return found


def refit_single(tree: RefitLeaves) -> bool:
    """Whether a tree is one leaf whose diagonal drops no column."""
    return len(tree.branch) == 1 and not bool(tree.dropped[int(tree.function[0])].any())


def refit_curve(problem: Part, tree: RefitLeaves) -> Vector:
    """(n + 1,) lower bounds b(k) >= 0, k = 0, ..., n, of a row, in units of the layer's loss.

    tree: as `refit_single` asks for. Raises ProofError.
    """
    metric, number, n = Metric.of(problem), int(tree.function[0]), problem.n
    diagonal = metric.lowered(tree.diagonals[number], tree.dropped[number], number)
    best = np.zeros(n + 1)
    for block in blocks_of(len(tree.points), n):
        points = tree.points[block]
        none = np.zeros(points.shape, dtype=np.bool_)
        found = metric.minorants(np.broadcast_to(diagonal, points.shape), points, none)
        sums = np.zeros((len(points), n + 1))
        np.cumsum(np.sort(found.slope, axis=1), axis=1, out=sums[:, 1:])
        for k in range(n + 1):
            best[k] = max(best[k], float(found.with_sum(sums[:, k]).max()))
    return np.array([rescaled_down(problem, value) for value in best.tolist()])

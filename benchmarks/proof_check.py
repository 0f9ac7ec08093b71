"""Check a proof of a lower bound from the problem's data alone, with no code of any solver.

The legal set is split into leaves by a binary tree in preorder (`instances.proof`); each leaf has
a lower bound b(x) on its losses, and the least over the leaves bounds the row:

    bound = min over leaves of  c - x^T P x + min over legal v in the leaf of (2 P x + q) . v,

where z^T P z + q^T z + c is a convex function that is at most the loss on the legal binaries z.

This file holds what is combinatorial: that the proof belongs to the problem and is well formed,
that its leaves partition the legal set (the tree is walked in `benchmarks.proof_tree`), that an
enumeration is complete. Rows that share a budget are put together by `benchmarks.budget_curve`; a
proof by a shift that rows share is left to
`benchmarks.shared_shift`. That P is semidefinite and that float64 does not flatter the
bounds is shown in `benchmarks.rigour`. A stated bound above the derived one is a rejection, however
small the difference; the derived one is what counts.
"""

from dataclasses import dataclass
from math import isfinite

import numpy as np
from numpy.typing import NDArray

from benchmarks.budget_curve import budget_bounds, share_budget
from benchmarks.leaf_minimum import LeafMinimum
from benchmarks.proof_tree import walk
from benchmarks.rigour import (
    FREE,
    KEPT,
    PRUNED,
    States,
    Verified,
    exact_loss,
    leaf_bounds,
    losses,
    rescaled_down,
    scaled_quad,
    still_open,
    verified,
)
from benchmarks.shared_shift import shift_bound
from instances.errors import InputError, ProofError
from instances.groups import ENUMERATION_COLUMNS, BudgetGroups, Mask, Matrix, Vector
from instances.problem import RowProblem
from instances.proof import Leaves, ProofKind, RowProof, equality_rows
from instances.sets.protocol import MaskSet
from instances.sets.rows import FREE as ROW_FREE
from instances.sets.rows import KEPT as ROW_KEPT
from instances.sets.rows import PRUNED as ROW_PRUNED
from instances.sets.rows import LinearRows
from instances.triangles import CONSTANT, Triangles

ENUMERATED = 5_000_000
"""Most legal masks that an enumeration proof may ask the checker to list."""

LARGEST_MULTIPLIER = 1e30
"""Multipliers and points beyond this are refused: products of them could overflow."""

LOOKED_AT = 1 << 16
"""0/1 vectors looked at at once in an enumeration."""


@dataclass(frozen=True, slots=True)
class Checked:
    """What was derived again.

    bound: lower bound on the loss of every legal mask, in units of the layer's loss, at least the
    stated one and never negative. objective: loss of the proof's mask, exact and then rounded to
    float64; None without a mask. leaves: of the tree; for an enumeration, the masks listed.
    """

    bound: float
    objective: float | None
    leaves: int


def check_row(problem: RowProblem, proof: RowProof) -> Checked:
    """Derive the bound of a proof again. Raises ProofError with the reason when it fails."""
    same = proof.row == problem.row and proof.height == problem.height
    if proof.problem != problem.digest or not same:
        raise ProofError(
            f"row {proof.row}: the proof belongs to another problem than row {problem.row} of "
            f"{problem.layer.name} under '{problem.pattern}'"
        )
    if not isfinite(proof.bound):
        raise ProofError(f"row {proof.row}: the stated bound is {proof.bound}")
    objective = None
    if proof.mask is not None:
        if proof.mask.shape != (problem.n,) or not problem.legal.is_legal(proof.mask):
            raise ProofError(f"row {proof.row}: its mask does not meet '{problem.pattern}'")
        objective = exact_loss(problem, proof.mask)
    if proof.kind is ProofKind.SHIFT:
        if proof.shared is None:
            raise ProofError(f"row {proof.row}: a proof by a shift without one")
        bound, leaves = shift_bound(problem, proof.shared), 1
    elif proof.kind is ProofKind.ENUMERATION:
        derived, leaves = _enumerate(problem, scaled_quad(problem))
        bound = rescaled_down(problem, max(0.0, derived))
    elif proof.kind is ProofKind.SHARED_BUDGET:
        bound, leaves = _of_rows(problem, proof), len(proof.rows)
    elif proof.leaves is None:
        raise ProofError(f"row {proof.row}: a proof by leaves without leaves")
    else:
        derived, leaves = _least_leaf(problem, scaled_quad(problem), proof.leaves)
        bound = rescaled_down(problem, max(0.0, derived))
    if proof.bound > max(0.0, bound):
        raise ProofError(
            f"row {proof.row}: the stated bound {proof.bound:.17g} is not supported: "
            f"the proof gives {bound:.17g}"
        )
    if objective is not None and bound > objective:
        raise ProofError(
            f"row {proof.row}: the bound {bound:.17g} exceeds the loss {objective:.17g} of a mask"
        )
    return Checked(bound, objective, leaves)


def _of_rows(part: RowProblem, proof: RowProof) -> float:
    """The bound of rows that share one budget, from a proof or more of each of them."""
    n, groups = part.layer.d_in, part.groups
    if groups.count != 1:
        raise ProofError(f"row {part.row}: '{part.pattern}' has no budget that its rows share")
    curves: dict[int, Vector] = {row: np.zeros(n + 1) for row in part.rows}
    for own in proof.rows:
        if own.row not in curves or own.budget is None or not 0 <= own.budget <= n:
            raise ProofError(f"row {own.row}: it is not one of rows {part.rows.start}:"
                             f"{part.rows.stop}, or its budget is missing")  # fmt: skip
        row = RowProblem(
            part.layer, own.row, f"keep={n - own.budget}", BudgetGroups(n, n, own.budget)
        )
        check_row(row, own)
        curves[own.row] = np.maximum(curves[own.row], budget_bounds(row, own))
    return share_budget(list(curves.values()), groups.pruned).bound


def _enumerate(problem: RowProblem, quad: Matrix) -> tuple[float, int]:
    groups = problem.legal
    if not isinstance(groups, BudgetGroups):
        return _look_at_all(problem, groups.linear_rows(), quad)
    if groups.masks > ENUMERATED:
        raise ProofError(
            f"row {problem.row}: an enumeration of {groups.masks} masks is more than {ENUMERATED}"
        )
    least, seen = np.inf, []
    try:
        for pruned in groups.enumerate_pruned():
            if not groups.is_legal(~pruned):
                raise ProofError(f"row {problem.row}: an illegal mask was listed")
            least = min(least, float(losses(quad, pruned).min()))
            seen.append(_words(pruned))
    except InputError as error:
        raise ProofError(f"row {problem.row}: {error}") from None
    words = np.concatenate(seen)
    distinct = len(np.unique(words[:, 0] if words.shape[1] == 1 else words, axis=0))
    if not len(words) == distinct == groups.masks:
        raise ProofError(f"row {problem.row}: {distinct} of {groups.masks} legal masks were listed")
    return least, distinct


def _look_at_all(problem: RowProblem, rows: LinearRows, quad: Matrix) -> tuple[float, int]:
    """Every 0/1 vector of the free columns is looked at, so no mask can be missing."""
    free = np.flatnonzero(rows.state == ROW_FREE)
    if len(free) > ENUMERATION_COLUMNS:
        raise ProofError(
            f"row {problem.row}: an enumeration over {len(free)} free columns is more than "
            f"{ENUMERATION_COLUMNS}"
        )
    matrix = rows.matrix.T.astype(np.float64)
    least, seen = np.inf, 0
    for start in range(0, 1 << len(free), LOOKED_AT):
        codes = np.arange(start, min(start + LOOKED_AT, 1 << len(free)), dtype=np.int64)
        pruned = np.tile(rows.state == ROW_PRUNED, (len(codes), 1))
        pruned[:, free] = (codes[:, None] >> np.arange(len(free), dtype=np.int64)) & 1
        sums = pruned @ matrix  # whole numbers: exact
        chosen = pruned[((rows.lower <= sums) & (sums <= rows.upper)).all(axis=1)]
        if len(chosen):
            least = min(least, float(losses(quad, chosen).min()))
            seen += len(chosen)
    if not seen:
        raise ProofError(f"row {problem.row}: no mask meets '{problem.pattern}'")
    return least, seen


def _words(pruned: Mask) -> NDArray[np.uint64]:
    packed = np.packbits(pruned, axis=1)
    padded = np.zeros((len(packed), -(-packed.shape[1] // 8) * 8), dtype=np.uint8)
    padded[:, : packed.shape[1]] = packed
    return padded.view(np.uint64)


def _least_leaf(problem: RowProblem, quad: Matrix, leaves: Leaves) -> tuple[float, int]:
    _validate(problem, leaves)
    functions: dict[int, Verified] = {}
    for number in np.unique(leaves.function[leaves.function >= 0]).tolist():
        functions[number] = verified(problem, quad, leaves.functions[number], number)
    legal = problem.legal
    hull: BudgetGroups | LeafMinimum
    if isinstance(legal, BudgetGroups):
        hull = legal
    else:
        hull = LeafMinimum.of(legal.linear_rows(), legal.integral)
    least, first = np.inf, 0
    for states in walk(problem, leaves.branch):
        numbers = leaves.function[first : first + len(states)]
        bounded = numbers >= 0
        point = leaves.point[first : first + len(states)]
        for number, function in functions.items():
            chosen = numbers == number
            if chosen.any():
                distinct, of_leaf = np.unique(point[chosen], return_inverse=True)
                x = leaves.points[distinct].astype(np.float64)
                values = leaf_bounds(hull, function, x, of_leaf, states[chosen])
                least = min(least, float(values.min()))
        if not bounded.all():
            values = _single_losses(problem, quad, states[~bounded])
            least = min(least, float(values.min(initial=np.inf)))
        first += len(states)
    if not isfinite(least):
        raise ProofError(f"row {problem.row}: the leaves give no finite bound")
    return least, first


def _validate(problem: RowProblem, leaves: Leaves) -> None:
    n, legal = problem.n, problem.legal
    count = legal.count if isinstance(legal, BudgetGroups) else len(equality_rows(legal)[1])
    branch, function, points = leaves.branch, leaves.function, leaves.points
    point = leaves.point
    problems = (
        (branch.ndim != 1 or function.ndim != 1, "branch and function must be vectors"),
        (
            any(a.dtype.kind != "i" for a in (branch, function, point)),
            "branch, function and point must hold integers",
        ),
        (
            function.size != int((branch == -1).sum()),
            f"{function.size} function numbers for {int((branch == -1).sum())} leaves",
        ),
        (
            function.size > 0
            and not -1 <= int(function.min()) <= int(function.max()) < len(leaves.functions),
            "a function number is out of range",
        ),
        (
            points.ndim != 2 or points.shape[1] != n,
            f"points have shape {points.shape}, expected (any, {n})",
        ),
        (
            point.shape != function.shape
            or bool(((point < 0) | (point >= len(points)))[function >= 0].any()),
            "a leaf names a point that is not there",
        ),
        (
            points.dtype.kind != "f"
            or not points.min(initial=0.0) >= -LARGEST_MULTIPLIER
            or not points.max(initial=0.0) <= LARGEST_MULTIPLIER,
            "a point is not finite",
        ),
    )
    for broken, reason in problems:
        if broken:
            raise ProofError(f"row {problem.row}: {reason}")
    for number, used in enumerate(leaves.functions):
        if used.u.shape != (n,) or used.alpha.shape != (count, n):
            raise ProofError(
                f"row {problem.row}: function {number} has shapes {used.u.shape} and "
                f"{used.alpha.shape}, expected {(n,)} and {(count, n)}"
            )
        for values in (used.u, used.alpha):
            if values.dtype != np.float64 or not bool((np.abs(values) <= LARGEST_MULTIPLIER).all()):
                raise ProofError(
                    f"row {problem.row}: function {number} has multipliers that are not float64 "
                    f"of size at most {LARGEST_MULTIPLIER:g}"
                )
        reason = _wrong_triangles(n, used.triangles)
        if reason:
            raise ProofError(f"row {problem.row}: function {number} has {reason}")


def _wrong_triangles(n: int, triangles: Triangles) -> str:
    """What is wrong with the triangles of a function of n columns, or nothing."""
    columns, apex, weight = triangles.columns, triangles.apex, triangles.weight
    typed = (columns, np.int32), (apex, np.int16), (weight, np.float64)
    if any(values.dtype != dtype for values, dtype in typed):
        return f"triangles of types {columns.dtype}, {apex.dtype}, {weight.dtype}"
    if weight.ndim != 1 or apex.shape != weight.shape or columns.shape != (len(weight), 3):
        return f"triangles of shapes {columns.shape}, {apex.shape}, {weight.shape}"
    if not bool(((columns[:, 0] >= CONSTANT) & (columns[:, 2] < n)).all()):
        return f"a triangle with a column that is not in {CONSTANT} to {n - 1}"
    if not bool((columns[:, :2] < columns[:, 1:]).all()):
        return "a triangle whose columns do not increase"
    if not bool(((apex >= -1) & (apex <= 2)).all()):
        return "a triangle with an apex that is not in -1 to 2"
    if not bool(((weight >= 0.0) & (weight <= LARGEST_MULTIPLIER)).all()):
        return f"a triangle whose weight is not in 0 to {LARGEST_MULTIPLIER:g}"
    return ""


def _single_losses(problem: RowProblem, quad: Matrix, states: States) -> Vector:
    """Lower bounds on the losses of leaves that must have at most one mask left."""
    if not isinstance(problem.legal, BudgetGroups):
        return _forced_losses(problem, problem.legal, quad, states)
    left, free = still_open(problem.groups, states)
    empty = ((left < 0) | (left > free)).any(axis=1)
    single = ((left == 0) | (left == free)).all(axis=1)
    if not bool((single | empty).all()):
        raise ProofError(
            f"row {problem.row}: a leaf without a function has more than one mask left"
        )
    rest = np.repeat(left > 0, problem.groups.size, axis=1) & (states == FREE)
    return np.where(empty, np.inf, losses(quad, (states == PRUNED) | rest))


def _forced_losses(problem: RowProblem, legal: MaskSet, quad: Matrix, states: States) -> Vector:
    """The same for sets other than equal groups: all columns of the leaves must be forced."""
    rows = legal.linear_rows()
    pruned = (states == PRUNED) | (rows.state == ROW_PRUNED)
    kept = (states == KEPT) | (rows.state == ROW_KEPT)
    if not bool((pruned | kept).all()):
        raise ProofError(
            f"row {problem.row}: a leaf without a function has columns that are not forced"
        )
    sums = pruned @ rows.matrix.T.astype(np.float64)  # whole numbers: exact
    met = ((rows.lower <= sums) & (sums <= rows.upper)).all(axis=1) & ~(pruned & kept).any(axis=1)
    return np.where(met, losses(quad, pruned), np.inf)

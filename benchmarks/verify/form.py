"""Whether a proof has the form that its problem asks for: read before anything is computed from it.

A proof comes from a file or from any solver, so nothing is taken for granted: types, dtypes,
shapes, ranges and indices, of the row proofs inside a shared budget by the same rules. What passes
holds finite numbers of size at most `LARGEST_MULTIPLIER`, so that with entries of Q of size at most
2^`OFF_DIAGONAL` no sum of products of them leaves float64.
"""

from collections.abc import Iterator
from math import isfinite
from typing import Any

import numpy as np

from maskgap.benchmarks.verify.sets import checked_set
from maskgap.instances.arrays import Kept
from maskgap.instances.errors import ProofError
from maskgap.instances.formats.proof import (
    ConvexFunction,
    Leaves,
    PartProof,
    ProofKind,
    SharedShift,
)
from maskgap.instances.formats.triangles import CONSTANT, Triangles
from maskgap.instances.masks.groups import BudgetGroups
from maskgap.instances.problem import Part

LARGEST_MULTIPLIER = 1e30
"""Multipliers and points beyond this are refused: products of them could overflow."""

MATRIX_BYTES = 2 << 30
"""Most memory for the matrices of all functions of a tree, which are held while it is walked."""


def require_form(problem: Part, proof: PartProof) -> None:
    """Raise ProofError, with the reason, unless the proof is well formed and of this problem."""
    for reason in _faults(problem, proof):
        raise ProofError(f"row {problem.row}: {reason}")


def row_under(part: Part, row: int, budget: int) -> Part:
    """A row of a part whose rows share a budget, as a problem with a budget of its own."""
    n = part.layer.d_in
    return Part(part.layer, row, f"keep={n - budget}", BudgetGroups(n, n, budget))


def _faults(problem: Part, proof: PartProof) -> Iterator[str]:
    """What is wrong with a proof; later faults may rest on what earlier ones exclude."""
    if not isinstance(proof, PartProof):
        yield f"the proof is no proof but a {type(proof).__name__}"
    if (proof.row, proof.height, proof.problem) != (problem.row, problem.height, problem.digest):
        yield (
            f"the proof belongs to another problem than row {problem.row} of "
            f"{problem.layer.name} under '{problem.pattern}'"
        )
    if not isinstance(proof.bound, float) or not isfinite(proof.bound):
        yield f"the stated bound is {proof.bound!r:.40}, not a finite number"
    if not isinstance(proof.passes, int) or proof.passes < 0:
        yield f"it is said to have had {proof.passes!r:.40} passes"
    mask = proof.mask
    if mask is not None and not (
        isinstance(mask, np.ndarray)
        and mask.dtype == np.bool_
        and mask.shape == (problem.n,)
        and problem.legal.is_legal(Kept(mask))
    ):
        yield f"its mask does not meet '{problem.pattern}'"
    if not isinstance(proof.kind, ProofKind):
        yield f"it is of kind {proof.kind!r:.40}, which is none of a proof"
    payload = {
        ProofKind.LEAVES: ("leaves", Leaves),
        ProofKind.SHIFT: ("shared", SharedShift),
    }
    for kind, (name, expected) in payload.items():
        held = getattr(proof, name)
        if isinstance(held, expected) if proof.kind is not kind else held is None:
            yield f"a proof of kind '{proof.kind}' and its '{name}' do not go together"
        if held is not None and not isinstance(held, expected):
            yield f"its '{name}' are a {type(held).__name__}"
    if not isinstance(proof.rows, tuple) or (
        proof.rows and proof.kind is not ProofKind.SHARED_BUDGET
    ):
        yield f"a proof of kind '{proof.kind}' cannot rest on proofs of rows"
    if proof.leaves is not None:
        yield from _tree_faults(problem, proof.leaves)
    if proof.shared is not None:
        yield from _shift_faults(problem, proof.shared)
    if proof.kind is ProofKind.SHARED_BUDGET:
        yield from _shared_budget_faults(problem, proof)


def _shared_budget_faults(part: Part, proof: PartProof) -> Iterator[str]:
    groups, n = part.legal.equal_groups, part.layer.d_in
    if groups is None or groups.count != 1:
        yield f"'{part.pattern}' has no budget that its rows share"
    for own in proof.rows:
        if not isinstance(own, PartProof) or own.row not in part.rows:
            yield f"it rests on a proof of no row of {part.rows.start}:{part.rows.stop}"
        if not isinstance(own.budget, int) or not 0 <= own.budget <= n:
            yield f"the proof of row {own.row} has no budget of 0 to {n} columns"
        if own.bound != 0.0:
            yield f"the proof of row {own.row} states a bound, which only all rows together have"
        if own.kind is not ProofKind.LEAVES:
            yield f"the proof of row {own.row} is of kind '{own.kind}', not leaves"
        yield from _faults(row_under(part, own.row, own.budget or 0), own)
        if own.leaves is None or len(own.leaves.branch) != 1 or own.leaves.function[0] != 0:
            yield f"the proof of row {own.row} is not of one leaf with a function"


def _array_fault(array: Any, dtype: Any, shape: tuple[int | None, ...]) -> str:
    """How an array differs from its dtype and shape (None: any size), or nothing."""
    if (
        isinstance(array, np.ndarray)
        and array.dtype == dtype
        and array.ndim == len(shape)
        and all(want in (None, size) for size, want in zip(array.shape, shape, strict=True))
    ):
        return ""
    found = f"{getattr(array, 'dtype', type(array).__name__)} {getattr(array, 'shape', '')}"
    wide = ", ".join("any" if size is None else str(size) for size in shape)
    return f"expected {np.dtype(dtype)} of shape ({wide}), found {found}"


def _number_fault(array: Any) -> str:
    """Whether numbers are too large or none at all; comparisons with NaN are false."""
    if array.size == 0 or (
        float(array.max()) <= LARGEST_MULTIPLIER and float(array.min()) >= -LARGEST_MULTIPLIER
    ):
        return ""
    return f"expected finite numbers of size at most {LARGEST_MULTIPLIER:g}"


def _shift_faults(problem: Part, shared: SharedShift) -> Iterator[str]:
    if problem.legal.equal_groups is None or problem.height != 1:
        yield f"a shift bounds a row under equal budgets, not '{problem.pattern}'"
    for name, array, dtype in (
        ("shift", shared.shift, np.float64),
        ("point", shared.point, np.float32),
    ):
        fault = _array_fault(array, dtype, (problem.n,))
        # a shift is in units of the Gram, so its size is judged where that is known
        if not fault:
            fault = _number_fault(array) if name == "point" else _infinite(array)
        if fault:
            yield f"its {name}: {fault}"


def _infinite(array: Any) -> str:
    return "" if bool(np.isfinite(array).all()) else "expected finite numbers"


def _tree_faults(problem: Part, tree: Leaves) -> Iterator[str]:
    n = problem.n
    arrays: tuple[tuple[str, Any, Any, tuple[int | None, ...]], ...] = (
        ("branch", tree.branch, np.int32, (None,)),
        ("function", tree.function, np.int16, (None,)),
        ("point", tree.point, np.int32, (None,)),
        ("points", tree.points, np.float32, (None, n)),
    )
    for name, array, dtype, shape in arrays:
        fault = _array_fault(array, dtype, shape)
        if fault:
            yield f"{name}: {fault}"
    leaves = int((tree.branch == -1).sum())
    function, point = tree.function, tree.point
    if not len(function) == len(point) == leaves:
        yield f"{len(function)} functions and {len(point)} points for {leaves} leaves"
    if not isinstance(tree.functions, tuple):
        yield f"functions are a {type(tree.functions).__name__}"
    if len(function) and not -1 <= int(function.min()) <= int(function.max()) < len(tree.functions):
        yield f"a leaf names a function that is not among its {len(tree.functions)}"
    named = point[function >= 0]
    if len(named) and not 0 <= int(named.min()) <= int(named.max()) < len(tree.points):
        yield f"a leaf names a point that is not there: they are {len(tree.points)}"
    fault = _number_fault(tree.points)
    if fault:
        yield f"points: {fault}"
    used = np.unique(function[function >= 0])
    if len(used) * n * n * 8 > MATRIX_BYTES:
        yield (
            f"its {len(used)} functions of {n} columns take more than the "
            f"{MATRIX_BYTES / 2**30:g} GiB that the checker holds"
        )
    rows = checked_set(problem).equalities
    for number, one in enumerate(tree.functions):
        fault = _function_fault(n, rows, one)
        if fault:
            yield f"function {number}: {fault}"


def _function_fault(n: int, rows: int, function: ConvexFunction) -> str:
    """What is wrong with a function of n columns and so many equality rows, or nothing."""
    if not isinstance(function, ConvexFunction) or not isinstance(function.triangles, Triangles):
        return "it is none"
    triangles = function.triangles
    count = triangles.weight.shape[0] if np.ndim(triangles.weight) == 1 else 0
    arrays: tuple[tuple[str, Any, Any, tuple[int | None, ...]], ...] = (
        ("u", function.u, np.float64, (n,)),
        ("alpha", function.alpha, np.float64, (rows, n)),
        ("weight of triangles", triangles.weight, np.float64, (count,)),
        ("apex of triangles", triangles.apex, np.int16, (count,)),
        ("columns of triangles", triangles.columns, np.int32, (count, 3)),
    )
    for name, array, dtype, shape in arrays:
        fault = _array_fault(array, dtype, shape)
        if fault:
            return f"{name}: {fault}"
    for name, array, _, _ in arrays[:3]:
        fault = _number_fault(array)
        if fault:
            return f"{name}: {fault}"
    columns, apex = triangles.columns, triangles.apex
    if not count:
        return ""
    if not float(triangles.weight.min()) >= 0.0:
        return "a triangle has a negative weight"
    if not (int(columns[:, 0].min()) >= CONSTANT and int(columns[:, 2].max()) < n):
        return f"a triangle has a column that is not in {CONSTANT} to {n - 1}"
    if not bool((columns[:, :2] < columns[:, 1:]).all()):
        return "a triangle has columns that do not increase"
    if not -1 <= int(apex.min()) <= int(apex.max()) <= 2:
        return "a triangle has an apex that is not in -1 to 2"
    return ""

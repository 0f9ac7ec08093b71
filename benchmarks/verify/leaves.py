"""Check a tree whose leaves are bounded by linearised convex functions.

The legal set is split into leaves by a binary tree in preorder (`instances.formats.evidence`); each
leaf has a lower bound b(x) on its losses, and the least over the leaves bounds the part:

    bound = min over leaves of  c - x^T P x + min over legal v in the leaf of (2 P x + q) . v,

where z^T P z + q^T z + c is a convex function that is at most the loss on the legal binaries z of
the subtree where it holds. That the leaves partition the legal set is seen while the tree is walked
(`benchmarks.verify.tree`), and that they use functions only where these hold, in
`benchmarks.verify.open_functions`; that P is semidefinite and that float64 does not flatter the
bounds is shown in `benchmarks.verify.quadratic`.
"""

from collections.abc import Iterator
from typing import Any

import numpy as np

from maskgap.benchmarks.verify.clock import Clock
from maskgap.benchmarks.verify.form import array_fault, number_fault
from maskgap.benchmarks.verify.open_functions import OpenFunctions, most_bytes, subtree_faults
from maskgap.benchmarks.verify.quadratic import (
    Points,
    Quadratic,
    leaf_bounds,
    least_rescaled,
    losses,
    scaled_quad,
    verified,
)
from maskgap.benchmarks.verify.sets import checked_set
from maskgap.benchmarks.verify.tree import walk
from maskgap.instances.convex_function import ConvexFunction
from maskgap.instances.formats.evidence.leaves import Leaves
from maskgap.instances.problem import Part
from maskgap.instances.triangles import CONSTANT, Triangles

MATRIX_BYTES = 2 << 30
"""Most memory for the matrices of functions that are held at one time while a tree is walked."""


def leaves_faults(problem: Part, tree: Leaves) -> Iterator[str]:
    """What is wrong with the form of a tree; later faults may rest on earlier ones."""
    n = problem.n
    arrays: tuple[tuple[str, Any, Any, tuple[int | None, ...]], ...] = (
        ("branch", tree.branch, np.int32, (None,)),
        ("function", tree.function, np.int16, (None,)),
        ("point", tree.point, np.int32, (None,)),
        ("points", tree.points, np.float32, (None, n)),
    )
    for name, array, dtype, shape in arrays:
        fault = array_fault(array, dtype, shape)
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
    fault = number_fault(tree.points)
    if fault:
        yield f"points: {fault}"
    rows = checked_set(problem).equalities
    for number, one in enumerate(tree.functions):
        fault = _function_fault(n, rows, one)
        if fault:
            yield f"function {number}: {fault}"
    yield from subtree_faults(problem, tree)
    if most_bytes(problem, tree) > MATRIX_BYTES:
        yield (
            f"its functions of {n} columns take more than the {MATRIX_BYTES / 2**30:g} GiB that "
            "the checker holds at one time"
        )


def _function_fault(n: int, rows: int, function: ConvexFunction) -> str:
    """What is wrong with a function of n columns and so many equality rows, or nothing."""
    if not isinstance(function, ConvexFunction) or not isinstance(function.triangles, Triangles):
        return "it is none"
    if not isinstance(function.holds, int) or function.holds < 0:
        return f"it holds in the subtree of {function.holds!r:.40}, which is no node"
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
        fault = array_fault(array, dtype, shape)
        if fault:
            return f"{name}: {fault}"
    for name, array, _, _ in arrays[:3]:
        fault = number_fault(array)
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


def leaves_bound(problem: Part, leaves: Leaves, clock: Clock) -> tuple[float, int]:
    """The least bound of the leaves, in units of the layer's loss, and their number.

    leaves: of a form that `leaves_faults` has found right. Raises ProofError.
    """
    quad, own = scaled_quad(problem), checked_set(problem)
    opened = OpenFunctions.of(problem, leaves)
    held: dict[int, Quadratic] = {}
    least, first, built = np.inf, 0, 0
    for states in walk(problem, leaves.branch):
        clock.look(f"row {problem.row}: {first} of {len(leaves.function)} leaves are")
        numbers = leaves.function[first : first + len(states)]
        bounded = numbers >= 0
        point = leaves.point[first : first + len(states)]
        last = first + len(states) - 1
        for number in np.unique(numbers[bounded]).tolist():
            clock.look(f"row {problem.row}: {built} of its functions are")
            function = held.pop(number, None)
            if function is None:
                own_state = opened.state(number)
                function = verified(problem, quad, leaves.functions[number], number, own_state)
                built += 1
            if opened.last_use[number] > last:
                held[number] = function
            chosen = numbers == number
            distinct, of_leaf = np.unique(point[chosen], return_inverse=True)
            at = Points(leaves.points[distinct].astype(np.float64), of_leaf)
            values = leaf_bounds(own, function, at, states[chosen], clock)
            least = min(least, float(values.min()))
        if not bounded.all():
            pruned, empty = own.last_masks(states[~bounded])
            values = np.where(empty, np.inf, losses(quad, pruned))
            least = min(least, float(values.min(initial=np.inf)))
        first += len(states)
    return least_rescaled(problem, least), first

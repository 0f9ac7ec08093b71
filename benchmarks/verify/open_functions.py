"""Where the functions of a tree hold, and which of them are open while its leaves are walked.

A function holds in the subtree of a node: the leaves first to last - 1, whose states agree with S,
what the splits above the node force. It is a function of the columns F outside S alone, so u and
alpha are 0 and triangles have no column in S, and only leaves of the subtree may use it.

Leaves are walked in blocks. In a block, each function that its leaves use is built, used for all of
them, and let go of, unless a later block uses it too. So at one time there are held the functions
that blocks before and after have in common, and one more; each takes |F|^2 numbers.
"""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from maskgap.benchmarks.verify import tree as walked
from maskgap.benchmarks.verify.tree import Subtrees, subtrees
from maskgap.instances.convex_function import ConvexFunction
from maskgap.instances.formats.evidence.leaves import Leaves
from maskgap.instances.masks.state import FREE, States
from maskgap.instances.problem import Part


@dataclass(frozen=True, eq=False)
class OpenFunctions:
    """Of each function of a tree.

    states: (functions, n) int8, what is forced where it holds; None where all hold everywhere.
    last_use: (functions,) int, the last leaf that uses it, -1 without one.
    """

    states: States | None
    last_use: NDArray[np.intp]

    @staticmethod
    def of(problem: Part, leaves: Leaves) -> "OpenFunctions":
        """Of a well-formed tree. Raises ProofError."""
        where = _subtrees(problem, leaves)
        last_use = np.full(len(leaves.functions), -1, dtype=np.intp)
        numbered = np.flatnonzero(leaves.function >= 0)
        np.maximum.at(last_use, leaves.function[numbered], numbered)
        return OpenFunctions(None if where is None else where.states, last_use)

    def state(self, number: int) -> States | None:
        """(n,) what is forced where a function holds; None where nothing is."""
        if self.states is None or bool((self.states[number] == FREE).all()):
            return None
        own: States = self.states[number]
        return own


def subtree_faults(problem: Part, leaves: Leaves) -> Iterator[str]:
    """What is wrong with the functions that hold in a subtree. Raises ProofError where the tree is.

    leaves: of which everything else is well formed.
    """
    where = _subtrees(problem, leaves)
    if where is None:
        return
    for number, function in enumerate(leaves.functions):
        if function.holds:
            fault = _outside_fault(function, where.states[number] != FREE)
            if fault:
                yield f"function {number}: {fault}, which is forced where the function holds"
    used = np.flatnonzero(leaves.function >= 0)
    by = leaves.function[used]
    astray = used[(used < where.first[by]) | (used >= where.last[by])]
    if len(astray):
        leaf = int(astray[0])
        number = int(leaves.function[leaf])
        yield (
            f"leaf {leaf} uses function {number}, which holds in the subtree of node "
            f"{leaves.functions[number].holds} only"
        )


def most_bytes(problem: Part, leaves: Leaves) -> int:
    """The most memory, in bytes, for the matrices of functions that are held at one time.

    leaves: of which all that `subtree_faults` looks at is right.
    """
    opened = OpenFunctions.of(problem, leaves)
    used = np.flatnonzero(opened.last_use >= 0)
    if not len(used):
        return 0
    first_use = np.full(len(leaves.functions), len(leaves.function), dtype=np.intp)
    numbered = np.flatnonzero(leaves.function >= 0)
    np.minimum.at(first_use, leaves.function[numbered], numbered)
    wide = np.full(len(leaves.functions), problem.n, dtype=np.int64)
    if opened.states is not None:
        wide = (opened.states == FREE).sum(axis=1)
    size = 8 * wide[used] ** 2
    start, stop = first_use[used] // walked.BLOCK, opened.last_use[used] // walked.BLOCK
    held, single = (np.zeros(int(stop.max()) + 2, dtype=np.int64) for _ in range(2))
    across = start < stop
    np.add.at(held, start[across], size[across])
    np.subtract.at(held, stop[across] + 1, size[across])
    np.maximum.at(single, start[~across], size[~across])
    return int((np.cumsum(held) + single).max())


def _subtrees(problem: Part, leaves: Leaves) -> Subtrees | None:
    """Where each function holds; None where all hold everywhere."""
    holds = [function.holds for function in leaves.functions]
    return subtrees(problem, leaves.branch, holds) if any(holds) else None


def _outside_fault(function: ConvexFunction, forced: NDArray[np.bool_]) -> str:
    """How a function names a forced column, or nothing."""
    if bool(function.u[forced].any()):
        return "u is not 0 in a column"
    if bool(function.alpha[:, forced].any()):
        return "alpha is not 0 in a column"
    columns = function.triangles.columns
    if bool(forced[columns[columns >= 0]].any()):
        return "a triangle has a column"
    return ""

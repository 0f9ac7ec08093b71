"""A tree whose leaves are bounded by linearised convex functions.

Convex function. Every legal z meets equality rows a_g . z = k_g with whole numbers a_g, k_g: those
of its set of masks, then one z_j = 0 or 1 for each column that the set forces (`equality_rows`);
the rows of equal budget groups are their indicators. For a diagonal u and one multiplier vector
alpha_g per equality row, on every legal binary z the scaled loss z^T Q z equals

    F(z) = z^T P z + q^T z,   P = Q - Diag(u) + sum_g (alpha_g a_g^T + a_g alpha_g^T) / 2,
                              q = u - sum_g k_g alpha_g.

A function may also carry triangle inequalities with weights (`instances.triangles`), taken
off F: it then is at most the loss on legal binaries, and has a constant term.

Subtrees. A function may hold in the subtree of one node only, named by its place in preorder (0:
the root, so everywhere). Let S be the columns that the splits above the node fix and nothing else,
P those of S that are pruned, and F all columns outside S. With z_F alone for a variable, u and all
alpha_g 0 outside F, and triangles on columns of F and the constant, the loss of every legal mask of
the subtree is z_F^T Q_FF z_F + 2 (Q_FP e)^T z_F + e^T Q_PP e, and the rows are a_gF . z_F = k_g -
a_gP . e; so

    F(z_F) = z_F^T P_F z_F + q_F^T z_F + e^T Q_PP e,
    P_F = Q_FF - Diag(u_F) + sum_g (alpha_gF a_gF^T + a_gF alpha_gF^T) / 2,
    q_F = 2 Q_FP e + u_F - sum_g (k_g - a_gP . e) alpha_gF,

is the loss there, or at most it with triangles taken off. It need be convex in z_F only.

Leaves. The legal set is split by a binary tree, stored in preorder: `branch[t]` is the column split
at node t (first child: kept, second child: pruned) or -1 at a leaf. A leaf names one point x, which
leaves may share, and a function; when that F is convex, its bound is the least value of the
linearisation

    F(x) + min over legal v of the leaf of grad F(x) . (v - x).

A leaf uses functions that hold where it lies; of its point, the entries of F count alone.
A leaf that has one mask left needs neither: its function is -1 and its loss is the bound; in sets
other than equal groups, all of its columns are forced then. The bound proved is the least over the
leaves.

Tensors of a part: of function i, `u<i>`, `alpha<i>`, `triangles<i>`, `apex<i>`, `weight<i>`; of the
tree, `branch`, `function`, `point`, `points`; and `holds`, a node for each function, where not all
of them hold everywhere. The head has the number of `functions`.
"""

from dataclasses import dataclass
from typing import Any, ClassVar, Self

import numpy as np
from numpy.typing import NDArray

from maskgap.instances.arrays import Matrix, Vector
from maskgap.instances.convex_function import ConvexFunction
from maskgap.instances.formats.proof import Evidence, Malformed, Reading, Writing
from maskgap.instances.masks.protocol import MaskSet
from maskgap.instances.masks.state import FREE, PRUNED
from maskgap.instances.triangles import Triangles

_FUNCTION: tuple[tuple[str, Any, int], ...] = (
    ("u", np.float64, 1),
    ("alpha", np.float64, 2),
    ("triangles", np.int32, 2),
    ("apex", np.int16, 1),
    ("weight", np.float64, 1),
)
"""Tensors of a function: name, dtype, axes."""

_TREE: tuple[tuple[str, Any, int], ...] = (
    ("branch", np.int32, 1),
    ("function", np.int16, 1),
    ("point", np.int32, 1),
    ("points", np.float32, 2),
)
"""Tensors of a tree of leaves."""

_HOLDS: tuple[str, Any, int] = ("holds", np.int32, 1)
"""A tensor of trees with functions that do not hold everywhere."""


@dataclass(frozen=True, eq=False, repr=False)
class Leaves(Evidence):
    """A tree in preorder and its leaves in the same order.

    branch: (nodes,) int32. function: (leaves,) int16, -1 where one mask is left. point: (leaves,)
    int32, the row of `points` (any number, n) float32 that the leaf uses, -1 where function is.
    """

    kind: ClassVar[str] = "leaves"
    fields: ClassVar[tuple[str, ...]] = ("functions",)

    functions: tuple[ConvexFunction, ...]
    branch: NDArray[np.int32]
    function: NDArray[np.int16]
    point: NDArray[np.int32]
    points: NDArray[np.float32]

    def __repr__(self) -> str:
        return f"Leaves({len(self.function)} with {len(self.points)} points)"

    @property
    def leaf_count(self) -> int:
        """As `Evidence.leaf_count`."""
        return len(self.function)

    def write(self, to: Writing) -> dict[str, Any]:
        """As `Evidence.write`."""
        for i, function in enumerate(self.functions):
            triangles = function.triangles
            own = function.u, function.alpha, triangles.columns, triangles.apex, triangles.weight
            for (name, _, _), array in zip(_FUNCTION, own, strict=True):
                to.put(f"{name}{i}", np.asarray(array))
        for name, _, _ in _TREE:
            to.put(name, np.asarray(getattr(self, name)))
        if any(function.holds for function in self.functions):
            to.put(_HOLDS[0], np.array([one.holds for one in self.functions], _HOLDS[1]))
        return {"functions": len(self.functions)}

    @classmethod
    def read(cls, of: Reading) -> Self:
        """As `Evidence.read`."""
        functions = []
        holds = _read_holds(of)
        for i, node in enumerate(holds):
            u, alpha, columns, apex, weight = (
                of.tensor(f"{name}{i}", dtype, axes) for name, dtype, axes in _FUNCTION
            )
            functions.append(ConvexFunction(u, alpha, Triangles(columns, apex, weight), node))
        return cls(tuple(functions), *(of.tensor(*tensor) for tensor in _TREE))


def _read_holds(of: Reading) -> list[int]:
    """Where each function holds. Raises Malformed."""
    count = of.head.functions or 0
    if not of.has(_HOLDS[0]):
        return [0] * count
    holds: list[int] = of.tensor(*_HOLDS).tolist()
    if len(holds) != count:
        raise Malformed(f"{of.key} says of {len(holds)} functions where they hold, not of {count}")
    if not any(holds):
        raise Malformed(f"{of.key} must not have 'holds' where all functions hold everywhere")
    return holds


def equality_rows(legal: MaskSet) -> tuple[Matrix, Vector]:
    """(E (m, n), k (m,)) float64 of whole numbers with E z = k on every legal mask, in fixed order.

    The equality rows of the set, then one row for each column that it forces.
    """
    rows = legal.linear_rows()
    matrix, budget = rows.equalities()
    forced = np.flatnonzero(rows.state != FREE)
    units = np.zeros((len(forced), legal.n))
    units[np.arange(len(forced)), forced] = 1.0
    values = (rows.state[forced] == PRUNED).astype(np.float64)
    return np.concatenate([matrix, units]), np.concatenate([budget, values])


def root_leaves(function: ConvexFunction, point: Vector, beside: Matrix | None = None) -> Leaves:
    """The tree of one leaf: the bound of a relaxation without branching.

    beside: further points (any number, n), for budgets beside the row's own; the leaf uses none.
    """
    points = point[None, :] if beside is None else np.concatenate([point[None, :], beside])
    return Leaves(
        functions=(function,),
        branch=np.array([-1], dtype=np.int32),
        function=np.array([0], dtype=np.int16),
        point=np.array([0], dtype=np.int32),
        points=np.clip(points, 0.0, 1.0).astype(np.float32),
    )

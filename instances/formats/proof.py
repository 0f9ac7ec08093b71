"""The format of a proof that no legal mask of a row beats a stated bound.

Nothing here finds or checks one.

Convex function. Every legal z meets equality rows a_g . z = k_g with whole numbers a_g, k_g: those
of its set of masks, then one z_j = 0 or 1 for each column that the set forces (`equality_rows`);
the rows of equal budget groups are their indicators. For a diagonal u and one multiplier vector
alpha_g per equality row, on every legal binary z the scaled loss z^T Q z equals

    F(z) = z^T P z + q^T z,   P = Q - Diag(u) + sum_g (alpha_g a_g^T + a_g alpha_g^T) / 2,
                              q = u - sum_g k_g alpha_g.

A function may also carry triangle inequalities with weights (`instances.formats.triangles`), taken
off F: it then is at most the loss on legal binaries, and has a constant term.

Leaves. The legal set is split by a binary tree, stored in preorder: `branch[t]` is the column split
at node t (first child: kept, second child: pruned) or -1 at a leaf. A leaf names one point x, which
leaves may share, and a function; when that F is convex, its bound is the least value of the
linearisation

    F(x) + min over legal v of the leaf of grad F(x) . (v - x).

A leaf that has one mask left needs neither: its function is -1 and its loss is the bound; in sets
other than equal groups, all of its columns are forced then. The bound proved is the least over the
leaves. An enumeration proof has no tree: the checker lists all legal masks itself, which it does
for rows of few masks.

Shared shift. Rows w of one layer may share a vector d with G - Diag(d) positive semidefinite, for
the layer's Gram G. A row's function is then that of u = w^2 d, alpha = 0, its only leaf the root,
and all it stores of its own is a point; the semidefinite check is one for all rows.

Shared budget. Where rows share one budget, proofs of single rows, each under a budget of its own,
bound the whole by a multiplier (`benchmarks.verify.budget_curve`). Their points beyond the leaf's
are for other budgets of the row: the bound under k is taken at the point whose sum is k, on the
line between those of the proof's points, all 0 and all 1 among them, whose sums lie next to k.

A trivial proof has nothing: a loss is a squared norm, so 0 bounds it. It holds a place, and a mask.

`instances.formats.proof_file` has what proofs look like on disk.
"""

from dataclasses import dataclass, field
from enum import StrEnum

import numpy as np
from numpy.typing import NDArray

from maskgap.instances.arrays import Kept, Matrix, Vector
from maskgap.instances.formats.triangles import Triangles, no_triangles
from maskgap.instances.masks.protocol import MaskSet
from maskgap.instances.masks.state import FREE, PRUNED
from maskgap.instances.problem import Part

OBJECTIVE = "mask"
"""What proofs are about: the loss of a mask whose kept weights stay as they are."""


class ProofKind(StrEnum):
    """How the bound is to be derived again."""

    TRIVIAL = "trivial"
    ENUMERATION = "enumeration"
    LEAVES = "leaves"
    SHIFT = "shift"
    SHARED_BUDGET = "shared-budget"


@dataclass(frozen=True, eq=False, repr=False)
class ConvexFunction:
    """Multipliers of one function.

    u: (n,) float64; alpha: (equality rows, n) float64; triangles.
    """

    u: Vector
    alpha: Matrix
    triangles: Triangles = field(default_factory=no_triangles)

    def __repr__(self) -> str:
        return f"ConvexFunction(of {len(self.u)} columns, {self.triangles!r})"


@dataclass(frozen=True, eq=False, repr=False)
class Leaves:
    """A tree in preorder and its leaves in the same order.

    branch: (nodes,) int32. function: (leaves,) int16, -1 where one mask is left. point: (leaves,)
    int32, the row of `points` (any number, n) float32 that the leaf uses, -1 where function is.
    """

    functions: tuple[ConvexFunction, ...]
    branch: NDArray[np.int32]
    function: NDArray[np.int16]
    point: NDArray[np.int32]
    points: NDArray[np.float32]

    def __repr__(self) -> str:
        return f"Leaves({len(self.function)} with {len(self.points)} points)"


@dataclass(frozen=True, eq=False, repr=False)
class SharedShift:
    """shift: d (n,) float64 in units of the layer's Gram. point: (n,) float32, the row's own.

    A shift that rows share is written once.
    """

    shift: Vector
    point: NDArray[np.float32]

    def __repr__(self) -> str:
        return f"SharedShift(of {len(self.shift)} columns)"


@dataclass(frozen=True, eq=False, repr=False)
class PartProof:
    """A proof for one row.

    row: its number in the layer, the first of a part of `height` rows. problem: digest of the
    Part. bound: the stated lower bound, in units of the layer's loss. mask: the incumbent
    (n,), or None. leaves, shared, rows: None or empty but for a proof of kind LEAVES,
    SHIFT, SHARED_BUDGET. budget: of one of such rows, the columns pruned in the problem that it is
    for; else None. passes: of the work on a whole layer, how many this row has had, so that it can
    be gone on with; nothing is proved by it.
    """

    row: int
    problem: str
    bound: float
    mask: Kept | None
    kind: ProofKind
    leaves: Leaves | None = None
    passes: int = 0
    shared: SharedShift | None = None
    height: int = 1
    rows: tuple["PartProof", ...] = ()
    budget: int | None = None

    def __repr__(self) -> str:
        name = f"row {self.row}" if self.height == 1 else f"{self.height} rows from {self.row}"
        return f"PartProof({name}, bound {self.bound} by {self.kind})"


def trivial_proof(problem: Part) -> PartProof:
    """The proof of the bound 0 of a problem."""
    return PartProof(
        problem.row, problem.digest, 0.0, None, ProofKind.TRIVIAL, height=problem.height
    )


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

"""A convex function that is at most the mask loss on the legal masks of a row.

    F(z) = z^T P z + q^T z,   P = Q - Diag(u) + sum_g (alpha_g a_g^T + a_g alpha_g^T) / 2,
                              q = u - sum_g k_g alpha_g,

for the equality rows a_g . z = k_g that every legal mask meets, less triangle inequalities with
weights (`instances.triangles`). What it is in the subtree of a node, and when it bounds anything,
is said where proofs are (`instances.formats.evidence.leaves`); whether P is semidefinite is for a
checker to say.
"""

from dataclasses import dataclass, field

from maskgap.instances.arrays import Matrix, Vector
from maskgap.instances.triangles import Triangles, no_triangles


@dataclass(frozen=True, eq=False, repr=False)
class ConvexFunction:
    """Multipliers of one function.

    u: (n,) float64; alpha: (equality rows, n) float64; triangles. holds: the node in whose subtree
    it does, by its place in preorder; u, alpha and triangles are 0 on columns fixed above it.
    """

    u: Vector
    alpha: Matrix
    triangles: Triangles = field(default_factory=no_triangles)
    holds: int = 0

    def __repr__(self) -> str:
        return f"ConvexFunction(of {len(self.u)} columns, {self.triangles!r})"

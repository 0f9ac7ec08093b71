"""What a search minimises: the seam between objectives and everything that searches or bounds.

An objective L is known on the legal masks of a part, z in {0,1}^n with 1 = pruned. Its bounds come
from convex functions F on the hull of the masks, F <= L on every legal mask. At any x of the box,

    L(z)  >=  F(z)  >=  c + g . z   for all legal z,     g = grad F(x),   c = F(x) - g . x,

an affine minorant; a node's bound is c plus the least of g . z over its masks, which an oracle
gives. A proof keeps of a minorant what it can be made from again, its *witness*, and a checker in
`benchmarks.verify` that knows the objective makes it again from the data. An objective that has no
such checker gives no proof, and its bounds are claimed.

    mask loss      L(z) = z^T Q z, F a convex quadratic (`objectives.mask_loss`)
    others         value and gradient are enough: `functions` of one element, no proof

All values are in the units of the scaled problem.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple, Protocol

import numpy as np
from numpy.typing import NDArray

from maskgap.instances.arrays import Kept, Matrix, Vector
from maskgap.instances.formats.proof import PartProof


@dataclass(frozen=True, eq=False, slots=True)
class Minorant:
    """An affine function of z that is at most the loss on every legal mask.

    value: F where it was taken. constant, linear (n,) float64: c and g. witness: what a proof keeps
    of it, of one length and dtype for an objective: for the mask loss x, (n,) float32.
    """

    value: float
    constant: float
    linear: Vector
    witness: NDArray[np.floating]


@dataclass(frozen=True, eq=False, slots=True)
class Quadratic:
    """F(x) = x^T P x + q^T x + c, P positive semidefinite: matrix (n, n), linear (n,), constant."""

    matrix: Matrix
    linear: Vector
    constant: float

    def at(self, x: Vector) -> tuple[float, Vector]:
        """F(x) and its gradient 2 P x + q."""
        gradient: Vector = 2.0 * (self.matrix @ x) + self.linear
        return 0.5 * float((gradient + self.linear) @ x) + self.constant, gradient

    def minorant(self, x: Vector) -> Minorant:
        """That at x rounded to float32, which is its witness."""
        witness = x.astype(np.float32)
        stored = witness.astype(np.float64)
        value, gradient = self.at(stored)
        return Minorant(value, value - float(gradient @ stored), gradient, witness)

    def curvature(self) -> Vector:
        """(n,) the diagonal of P."""
        return np.maximum(self.matrix.diagonal(), 0.0)

    @property
    def quadratic(self) -> "Quadratic":
        """Itself: steps over its matrix are compiled."""
        return self


class Underestimator(Protocol):
    """A convex function on the box that is at most the loss on every legal mask."""

    def at(self, x: Vector) -> tuple[float, Vector]:
        """F(x) and its gradient (n,)."""
        ...

    def minorant(self, x: Vector) -> Minorant:
        """An affine minorant of the loss, near F at x."""
        ...

    def curvature(self) -> Vector:
        """(n,) a typical half second derivative by column, for branching; 0 where unknown."""
        ...

    @property
    def quadratic(self) -> Quadratic | None:
        """The same function where it is a quadratic with a known matrix, else None."""
        ...


class SecondOrder(Underestimator, Protocol):
    """One whose second derivative is known in products, or to a good approximation."""

    def images(self, x: Vector, gradient: Vector, directions: Matrix) -> Matrix:
        """(d, n) the second derivative at x times each of the directions (d, n).

        gradient: at x. The directions lead from x into the hull.
        """
        ...


class RecordedTree(NamedTuple):
    """The tree of a search in preorder, as `instances.formats.proof.Leaves` has it.

    points: the witnesses that leaves refer to.
    """

    branch: NDArray[np.int32]
    function: NDArray[np.int16]
    point: NDArray[np.int32]
    points: NDArray[np.floating]


class Objective(Protocol):
    """The loss of the legal masks of one part, and functions that bound it."""

    @property
    def n(self) -> int:
        """Number of columns."""
        ...

    @property
    def functions(self) -> Sequence[Underestimator]:
        """At least one; a later one is strongest at the root."""
        ...

    @property
    def margin(self) -> float:
        """What to take off a bound, for the rounding of it and of its check, before it is stated.

        It has a sense only where there is a proof; 0 elsewhere.
        """
        ...

    @property
    def least(self) -> float:
        """A bound that every mask meets and that needs no proof: 0 for a squared norm."""
        ...

    @property
    def states_masks(self) -> bool:
        """Whether a proof bounds a leaf of one mask without a minorant, by that mask's loss."""
        ...

    def exact(self, kept: Kept) -> float:
        """The loss of a legal mask (n,)."""
        ...

    def proof(self, tree: RecordedTree, bound: float, mask: Kept | None) -> PartProof | None:
        """The proof of a bound by the tree of a search, None where the objective has no checker."""
        ...


class QuadraticLoss(Objective, Protocol):
    """A quadratic loss z^T Q z, bounded by quadratics with known matrices."""

    @property
    def quad(self) -> Matrix:
        """(n, n) float64, the Q of the masks that are searched."""
        ...

    @property
    def functions(self) -> Sequence[Quadratic]:
        """As `Objective.functions`."""
        ...

"""Lower bounds in float64 that hold for the real numbers behind them: what `leaves` rests on.

Units: Q = diag(w) G diag(w) / 2^exponent as in `Part`; bounds are multiplied back at the end.
For multipliers u, alpha and triangle weights t >= 0 (see `instances.formats.evidence.leaves`) let

    F(z) = z^T P z + q^T z + c = z^T Q z + (terms that are 0 on legal binaries)
                                 - sum over triangles of t (z^T A z + b^T z + d),

where each triangle's last factor is 0 or 1 on binaries (`instances.triangles`), A has +-1/2
at both places of each of its pairs of columns, b has +-1 and d is 0 or 1. So F is at most the loss
there:

    P = Q - Diag(u) + sum_g (alpha_g a_g^T + a_g alpha_g^T) / 2 - sum t A,
    q = u - sum_g k_g alpha_g - sum t b,     c = - sum t d,

and, if P is positive semidefinite, no loss in a leaf (columns forced kept or pruned) is less than

    b(x) = c - x^T P x + min over legal v in the leaf of (2 P x + q) . v,     for every x.

Of a function that holds in a subtree only, all of this is meant of the columns F that are free at
its node, with p others pruned there: Q_FF for Q, 2 Q_FP e added to q, e^T Q_PP e to c, and for k_g
what is left of it, a whole number and exact. Below, n is the number of columns in F, but where all
columns of the part are named.

All is evaluated in float64 with unit roundoff r = 2^-53; gamma_m = m r / (1 - m r) bounds the
relative rounding of m operations in any order (Higham, Accuracy and Stability of Numerical
Algorithms, section 3.1). Four allowances make it rigorous; each is taken 1 % larger than derived,
for the rounding of the allowance itself, and TINY covers underflow.

Entries. Q is formed from the mantissas of w and G, two roundings an entry; the multiplier terms
    and u add at most four, and the triangles at most m, the most that have one column in common: no
    more than that meet in one entry of P, and two sums of no more than that in one entry of q. The
    halves are exact. In sets other than equal groups a column can be in r > 1 equality rows, whose
    entries are whole numbers, so sums of r products take the place of one exact term: r - 1 more
    roundings, counted into m. With T the matrix of sums of the absolute terms of each entry, the
    stored P differs from the exact one by at most E_ij = gamma_{m+8} T_ij, so by
    gamma_{m+8} ||T||_inf in the spectral norm. The sum of t d is rounded once (`fsum`).
Positive semidefinite. A = stored P minus s I is factorised and the factor multiplied out
    (`instances.definite`): that shows lambda_min(A) >= -e for a computed e, whatever LAPACK did. So
    the exact P is semidefinite if e <= s less what the other roundings can take, that is for
    s = gamma_{m+8} ||T||_inf + 2 r max diagonal (for rounding the shifted diagonal) + room, with
    e <= room. The room is gamma_{2n+8} trace(P), about twice what a factor of P needs (Rump,
    Verification of positive definiteness, BIT 46, 2006, shows that this is the size of e).
Lowering u. The best P is singular and cannot pass. Replacing u by u - delta, again stored numbers,
    adds delta I to P and leaves the loss on binaries alone: the smallest delta of LADDER times s
    that passes is used, and no further allowance is due for it.
Evaluation. P x, x^T P x, q, c and their sums over v take fewer than 4 n + rows + m + 32 roundings
    on any path from data to result, for all n columns of the part, rows being those of equalities,
    one a group. In a subtree an entry of Q that goes into 2 Q_FP e has its two roundings, p - 1 of
    the sum, and m + rows + 4 more of q; one of e^T Q_PP e, two sums of p and as many more of c. To
    that come at most n of a sum over v and 4 for b: with p <= n that is below the count. What else
    rounds in the minimum over v is taken off there (`benchmarks.verify.leaf_minimum`). With
    t = T |x| and a the sums of the absolute terms of q, the error of b(x) is at most that gamma
    times |x|^T t + sum_i (2 t_i + a_i) + |c|. No product with T is due for it: |x|^T t <= max|x|
    sum_i t_i, and sum_i t_i = (T e) . |x|. A loss z^T Q z takes fewer than 2 n + 8, of terms that
    sum to z^T |Q| z in absolute value.
"""

from dataclasses import dataclass, replace
from math import isfinite, ldexp, nextafter
from typing import Any

import numpy as np
import scipy.linalg
from numpy.typing import NDArray

from maskgap.benchmarks.verify.checked_set import CheckedSet
from maskgap.benchmarks.verify.clock import Clock
from maskgap.benchmarks.verify.sets import checked_set
from maskgap.benchmarks.verify.triangle_sums import TriangleSums
from maskgap.instances.arrays import Matrix, Pruned, Vector
from maskgap.instances.convex_function import ConvexFunction
from maskgap.instances.definite import SMALL, defect, gamma
from maskgap.instances.errors import ProofError
from maskgap.instances.masks.state import FREE, PRUNED, States
from maskgap.instances.problem import Part
from maskgap.instances.triangles import CONSTANT, Triangles

LADDER = (0.0, 2.0, 8.0, 32.0, 128.0)
"""How far u may be lowered, in units of the rounding s that the semidefinite check covers."""

TINY = 2.0**-900
"""Far above what underflow can lose (2^-1074 an operation), far below any allowance."""


@dataclass(frozen=True, eq=False)
class Quadratic:
    """A function z^T P z + q^T z + c as stored, and what bounds its rounding.

    matrix, linear, constant: P (n, n), q (n,), c. size: T e, (n,). rest: sum of a, and |c|.
    meeting: m. rows: equality rows. free: its n columns among those of the part; None for all.
    """

    matrix: Matrix
    linear: Vector
    constant: float
    size: Vector
    rest: float
    meeting: int
    rows: int
    free: NDArray[np.intp] | None = None

    def with_diagonal(self, u: Vector) -> "Quadratic":
        """The function with u (n,) taken off the diagonal of P and added to q."""
        matrix, wide = self.matrix.copy(), np.abs(u)
        matrix[np.diag_indices(len(u))] -= u
        return replace(
            self,
            matrix=matrix,
            linear=self.linear + u,
            size=self.size + wide,
            rest=self.rest + float(wide.sum()),
        )


def require_arithmetic() -> None:
    """Raise ProofError where float64 is not IEEE's: subnormal numbers are zero, or rounding is odd.

    A library in the same process can switch either on.
    """
    least, one = np.array([2.0**-1074]), np.array([1.0])
    halves = np.array([2.0**-537]) * np.array([2.0**-537])
    nearest = bool((one + 2.0**-54 == one).all()) and bool((one - 2.0**-55 == one).all())
    if not (bool((halves == least).all()) and bool((least > 0.0).all()) and nearest):
        raise ProofError(
            "float64 arithmetic is not IEEE's to nearest in this process: a library flushes "
            "subnormal numbers to zero, or rounds in one direction; check in another process"
        )


def require_finite(what: str, *arrays: Any) -> None:
    """Raise ProofError unless all numbers are finite: NaN would slip through a minimum."""
    for array in arrays:
        if not bool(np.isfinite(array).all()):
            raise ProofError(f"{what} left the range of float64")


def scaled_quad(problem: Part) -> Matrix:
    """Q (n, n), exactly symmetric, each entry within gamma_2 |Q_ij| + 2^-1074 of the exact one.

    Mantissas and exponents are multiplied apart, so that nothing underflows before the last step.
    """
    gram, gram_exponent = np.frexp(problem.layer.gram)
    blocks = []
    for row in problem.weight.reshape(problem.height, -1):
        weight, weight_exponent = np.frexp(row)
        exponent = weight_exponent[:, None] + weight_exponent[None, :] + gram_exponent
        scaled = exponent - problem.exponent
        blocks.append(np.ldexp(weight[:, None] * weight[None, :] * gram, scaled))
    return np.asarray(blocks[0] if len(blocks) == 1 else scipy.linalg.block_diag(*blocks))


def rescaled_down(problem: Part, bound: float) -> float:
    """The bound in units of the layer's loss, never above the exact product."""
    value = problem.rescale(bound)
    require_finite(f"row {problem.row}: the bound", value)
    exact = ldexp(value, -problem.exponent) <= bound
    return value if exact else nextafter(value, 0.0)  # it was rounded up to a subnormal number


def least_rescaled(problem: Part, least: float) -> float:
    """The least bound of leaves or masks, at least 0, likewise. Raises ProofError without one."""
    if not isfinite(least):
        raise ProofError(f"row {problem.row}: the leaves give no finite bound")
    return rescaled_down(problem, max(0.0, least))


def losses(quad: Matrix, pruned: Pruned) -> Vector:
    """Lower bounds on the losses of pruned sets (masks, n)."""
    z = pruned.astype(np.float64)
    size = np.einsum("ij,ij->i", z @ np.abs(quad), z)
    allowance = gamma(2 * len(quad) + 8) * size + TINY
    found = np.asarray(np.einsum("ij,ij->i", z @ quad, z) - allowance)
    require_finite("the loss of a mask", found)
    return found


def verified(
    problem: Part, quad: Matrix, function: ConvexFunction, number: int, state: States | None = None
) -> Quadratic:
    """The function with u lowered until its exact P is verified. Raises ProofError.

    state: (n,), what is forced where it holds; None where it holds everywhere.
    """
    plain = _build(checked_set(problem), quad, function, state)
    u = function.u if plain.free is None else function.u[plain.free]
    stated = plain.with_diagonal(u)
    require_finite(
        f"row {problem.row}: function {number}", stated.matrix, stated.linear, stated.constant
    )
    unit = sum(_shift(stated))
    for step in LADDER:
        built = plain.with_diagonal(u - step * unit) if step else stated
        taken, room = _shift(built)
        shifted = built.matrix.copy()
        shifted[np.diag_indices(len(u))] -= taken + room
        if defect(shifted) <= room:
            return built
    raise ProofError(
        f"row {problem.row}: the matrix of function {number} is not positive semidefinite"
    )


def _build(
    own: CheckedSet, quad: Matrix, function: ConvexFunction, state: States | None
) -> Quadratic:
    """A function without its u."""
    rows = own.terms(function.alpha, np.full(len(quad), FREE, np.int8) if state is None else state)
    linear, linear_size = -rows.paid, rows.paid_size
    constant, constant_size, triangles, free = 0.0, 0.0, function.triangles, None
    if state is not None:
        free, gone = np.flatnonzero(state == FREE), (state == PRUNED).astype(np.float64)
        given, given_size = quad @ gone, np.abs(quad) @ gone
        linear, linear_size = linear + 2.0 * given[free], linear_size + 2.0 * given_size[free]
        constant, constant_size = float(given @ gone), float(given_size @ gone)
        quad, triangles = quad[np.ix_(free, free)], _among(triangles, free)
    matrix = quad + 0.5 * (rows.spread + rows.spread.T)
    size = np.abs(quad).sum(axis=1)
    size += 0.5 * (rows.spread_size.sum(axis=0) + rows.spread_size.sum(axis=1))
    meeting = rows.meeting
    if len(triangles):
        taken = TriangleSums.of(len(quad), triangles)
        matrix -= taken.matrix
        size += taken.size.sum(axis=1)
        linear, linear_size = linear - taken.linear, linear_size + taken.linear_size
        constant, constant_size = constant - taken.constant, constant_size + taken.constant
        meeting += taken.meeting
    rest = float(linear_size.sum()) + constant_size
    return Quadratic(matrix, linear, constant, size, rest, meeting, len(function.alpha), free)


def _among(triangles: Triangles, free: NDArray[np.intp]) -> Triangles:
    """Triangles on free columns, by their places among these."""
    places = np.searchsorted(free, triangles.columns)
    columns = np.where(triangles.columns == CONSTANT, CONSTANT, places).astype(np.int32)
    return replace(triangles, columns=columns)


def _shift(function: Quadratic) -> tuple[float, float]:
    """The s of the module's docstring: what roundings can take, and the room for a factor."""
    diagonal = np.maximum(function.matrix.diagonal(), 0.0)
    largest = float(diagonal.max(initial=0.0))
    entries = gamma(function.meeting + 8) * float(function.size.max(initial=0.0))
    tiny = len(diagonal) * (len(diagonal) + largest) * TINY
    taken = 1.01 * (entries + 2.0**-51 * largest) + tiny
    room = 1.01 * gamma(2 * len(diagonal) + 8) * float(diagonal.sum()) + 2.0 * len(diagonal) * SMALL
    return taken, room


@dataclass(frozen=True, eq=False)
class Points:
    """Where functions are linearised: x (any number, n), of_leaf (leaves,) the row of each leaf."""

    x: Matrix
    of_leaf: NDArray[np.integer]


def leaf_bounds(
    own: CheckedSet,
    function: Quadratic,
    at: Points,
    states: States,
    clock: Clock | None = None,
) -> Vector:
    """b(x) less its allowance for each leaf; +inf where no mask is left.

    own: the set that the leaves are of. at: their points. states: (leaves, n). clock: the time
    that it may take; None for no limit.
    """
    x, point, clock, free = at.x, at.of_leaf, clock or Clock(), function.free
    n = x.shape[1]
    if free is not None:
        x = x[:, free]
    product, width = x @ function.matrix, np.abs(x)
    size = (2.0 + width.max(axis=1, initial=0.0)) * (width @ function.size) + function.rest
    operations = 4 * n + function.rows + function.meeting + 32
    allowance = gamma(operations) * size + TINY
    base = function.constant - np.einsum("ij,ij->i", x, product) - allowance
    slope = 2.0 * product + function.linear
    require_finite("a leaf's bound", base, slope)  # a sort would put NaN last, where none looks
    if free is None:
        gradient = slope[point]
    else:
        gradient = np.zeros((len(point), n))
        gradient[:, free] = slope[point]
    bounds: Vector = own.least(gradient, states, clock) + base[point]
    if np.isnan(bounds).any():
        raise ProofError("a leaf's bound is not a number")
    return bounds

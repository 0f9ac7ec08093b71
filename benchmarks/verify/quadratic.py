"""Lower bounds in float64 that hold for the real numbers behind them: what `leaves` rests on.

Units: Q = diag(w) G diag(w) / 2^exponent as in `Part`; bounds are multiplied back at the end.
For multipliers u, alpha and triangle weights t >= 0 (see `instances.formats.evidence.leaves`) let

    F(z) = z^T P z + q^T z + c = z^T Q z + (terms that are 0 on legal binaries)
                                 - sum over triangles of t (z^T A z + b^T z + d),

where each triangle's last factor is 0 or 1 on binaries (`instances.formats.triangles`), A has +-1/2
at both places of each of its pairs of columns, b has +-1 and d is 0 or 1. So F is at most the loss
there:

    P = Q - Diag(u) + sum_g (alpha_g a_g^T + a_g alpha_g^T) / 2 - sum t A,
    q = u - sum_g k_g alpha_g - sum t b,     c = - sum t d,

and, if P is positive semidefinite, no loss in a leaf (columns forced kept or pruned) is less than

    b(x) = c - x^T P x + min over legal v in the leaf of (2 P x + q) . v,     for every x.

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
    gamma_{m+8} ||T||_inf in the spectral norm. The sum in c is rounded once (`fsum`).
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
    on any path from data to result, rows being those of equalities, one a group. What else rounds
    in the minimum over v of other sets is taken off there (`benchmarks.verify.leaf_minimum`). With
    t = T |x| and a the sums of the absolute terms of q, the error of b(x) is at most that gamma
    times |x|^T t + sum_i (2 t_i + a_i) + |c|. No product with T is due for it: |x|^T t <= max|x|
    sum_i t_i, and sum_i t_i = (T e) . |x|. A loss z^T Q z takes fewer than 2 n + 8, of terms that
    sum to z^T |Q| z in absolute value.
"""

from dataclasses import dataclass, replace
from math import fsum, isfinite, ldexp, nextafter
from typing import Any

import numpy as np
import scipy.linalg
from numpy.typing import NDArray

from maskgap.benchmarks.verify.checked_set import CheckedSet
from maskgap.benchmarks.verify.clock import Clock
from maskgap.benchmarks.verify.sets import checked_set
from maskgap.instances.arrays import Matrix, Pruned, Vector
from maskgap.instances.definite import SMALL, defect, gamma
from maskgap.instances.errors import ProofError
from maskgap.instances.formats.evidence.leaves import ConvexFunction
from maskgap.instances.formats.triangles import CONSTANT, Triangles
from maskgap.instances.masks.state import States
from maskgap.instances.problem import Part

LADDER = (0.0, 2.0, 8.0, 32.0, 128.0)
"""How far u may be lowered, in units of the rounding s that the semidefinite check covers."""

TINY = 2.0**-900
"""Far above what underflow can lose (2^-1074 an operation), far below any allowance."""

PAIR_SIGNS = np.array([[-1, -1, 1], [-1, 1, -1], [1, -1, -1], [1, 1, 1]])
"""Signs of z_a z_b, z_a z_c, z_b z_c in a triangle's term; a row for apex 0, 1, 2 and -1."""

SINGLE_SIGNS = np.array([[1, 0, 0], [0, 1, 0], [0, 0, 1], [-1, -1, -1]])
"""Signs of z_a, z_b, z_c in a triangle's term; rows as above."""


@dataclass(frozen=True, eq=False)
class Quadratic:
    """A function z^T P z + q^T z + c as stored, and what bounds its rounding.

    matrix, linear, constant: P (n, n), q (n,), c. size: T e, (n,). rest: sum of a, and |c|.
    meeting: m. rows: equality rows.
    """

    matrix: Matrix
    linear: Vector
    constant: float
    size: Vector
    rest: float
    meeting: int
    rows: int

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


def verified(problem: Part, quad: Matrix, function: ConvexFunction, number: int) -> Quadratic:
    """The function with u lowered until its exact P is verified. Raises ProofError."""
    plain = _build(checked_set(problem), quad, function)
    stated = plain.with_diagonal(function.u)
    require_finite(f"row {problem.row}: function {number}", stated.matrix, stated.linear)
    unit = sum(_shift(stated))
    for step in LADDER:
        built = plain.with_diagonal(function.u - step * unit) if step else stated
        taken, room = _shift(built)
        shifted = built.matrix.copy()
        shifted[np.diag_indices(problem.n)] -= taken + room
        if defect(shifted) <= room:
            return built
    raise ProofError(
        f"row {problem.row}: the matrix of function {number} is not positive semidefinite"
    )


def _build(own: CheckedSet, quad: Matrix, function: ConvexFunction) -> Quadratic:
    """A function without its u."""
    n, rows = len(quad), own.terms(function.alpha)
    matrix = quad + 0.5 * (rows.spread + rows.spread.T)
    size = np.abs(quad).sum(axis=1)
    size += 0.5 * (rows.spread_size.sum(axis=0) + rows.spread_size.sum(axis=1))
    triangles = function.triangles
    linear, linear_size, meeting = -rows.paid, rows.paid_size, 0
    if len(triangles):
        signs = triangles.weight[:, None] * PAIR_SIGNS[triangles.apex]
        single = triangles.weight[:, None] * SINGLE_SIGNS[triangles.apex]
        pairs, pairs_size = (_pair_sums(n, triangles, v) for v in (signs, np.abs(signs)))
        matrix -= 0.5 * pairs[1:, 1:]
        size += 0.5 * pairs_size[1:, 1:].sum(axis=1)
        linear -= pairs[0, 1:] + _column_sums(n, triangles, single)
        linear_size += pairs_size[0, 1:] + _column_sums(n, triangles, np.abs(single))
        meeting = int(_column_sums(n, triangles, np.ones_like(single)).max())
    of_constant = triangles.columns[:, 0] == CONSTANT
    constant = -fsum(triangles.weight[triangles.apex == np.where(of_constant, 0, -1)])
    rest = float(linear_size.sum()) - constant
    return Quadratic(
        matrix, linear, constant, size, rest, meeting + rows.meeting, len(function.alpha)
    )


def _pair_sums(n: int, triangles: Triangles, values: Matrix) -> Matrix:
    """Sums of values (t, 3) over what falls on each pair of columns, symmetric (n + 1, n + 1).

    Row and column 0 stand for the constant z_0 = 1: a product with it is linear.
    """
    columns = triangles.columns.astype(np.intp) + 1
    cells = columns[:, [0, 0, 1]] * (n + 1) + columns[:, [1, 2, 2]]
    flat = np.bincount(cells.ravel(), values.ravel(), minlength=(n + 1) ** 2)
    upper = flat.reshape(n + 1, n + 1)  # columns increase along a row: nothing lies elsewhere
    return np.asarray(upper + upper.T, dtype=np.float64)


def _column_sums(n: int, triangles: Triangles, values: Matrix) -> Vector:
    """Sums of values (t, 3) over what falls on each column, (n,); the constant's are left out."""
    columns = triangles.columns.astype(np.intp) + 1
    sums = np.bincount(columns.ravel(), values.ravel(), minlength=n + 1)
    return np.asarray(sums[1:], dtype=np.float64)


def _shift(function: Quadratic) -> tuple[float, float]:
    """The s of the module's docstring: what roundings can take, and the room for a factor."""
    diagonal = np.maximum(function.matrix.diagonal(), 0.0)
    entries = gamma(function.meeting + 8) * float(function.size.max())
    tiny = len(diagonal) * (len(diagonal) + float(diagonal.max())) * TINY
    taken = 1.01 * (entries + 2.0**-51 * float(diagonal.max())) + tiny
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
    x, point, clock = at.x, at.of_leaf, clock or Clock()
    product, width = x @ function.matrix, np.abs(x)
    size = (2.0 + width.max(axis=1)) * (width @ function.size) + function.rest
    operations = 4 * len(function.linear) + function.rows + function.meeting + 32
    allowance = gamma(operations) * size + TINY
    base = function.constant - np.einsum("ij,ij->i", x, product) - allowance
    slope = 2.0 * product + function.linear
    require_finite("a leaf's bound", base, slope)  # a sort would put NaN last, where none looks
    gradient = slope[point]

    bounds: Vector = own.least(gradient, states, clock) + base[point]
    if np.isnan(bounds).any():
        raise ProofError("a leaf's bound is not a number")
    return bounds

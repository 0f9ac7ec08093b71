"""The convex functions that stand for the loss of a row, by how much is spent on them.

Each method chooses multipliers (u, alpha) of `convexify`, strongest last:

    none   u = 0: F(z) = z^T Q z
    eig    u = lambda_min(Q) e
    diag   u = lambda_min(S^-1 Q S^-1) diag(Q), S = diag(Q)^(1/2); a column with Q_ii = 0 has a
           zero row in a semidefinite Q, and stays out with u_i = 0
    sdp    u from the dual of the semidefinite relaxation (`bounds.semidefinite`)
    sdp-triangles   that one and a second function, with triangle inequalities

The first three cost one eigenvalue at most; they are for rows too wide for the interior-point
method. (eig: Hammer and Rubin, RAIRO 4, 1970; sdp: Billionnet, Elloumi, Plateau, Discrete Applied
Mathematics 157, 2009.)

Every function is repaired until its P is verifiably semidefinite. No bound is proved here.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Literal, get_args

import numpy as np

from maskgap.instances.arrays import Matrix, Vector
from maskgap.instances.convex_function import ConvexFunction
from maskgap.instances.errors import InputError
from maskgap.instances.masks.protocol import MaskSet
from maskgap.solvers.bounds.sdp_solution import SdpSolution
from maskgap.solvers.bounds.semidefinite import Effort
from maskgap.solvers.bounds.tilts import relaxations
from maskgap.solvers.frank_wolfe import hull
from maskgap.solvers.objectives import convexify
from maskgap.solvers.objectives.protocol import Quadratic
from maskgap.solvers.objectives.shift import largest_shift
from maskgap.solvers.protocol import Deadline

Method = Literal["none", "eig", "diag", "sdp", "sdp-triangles"]
METHODS: tuple[Method, ...] = get_args(Method)


@dataclass(frozen=True, eq=False)
class Reformulation:
    """Functions to bound with, and what is known of them.

    functions: repaired, strongest at the root last; two where triangle inequalities help. point:
    (n,) in [0, 1], a relaxed z of the last, to round. bound: least value of the last over the hull
    or a lower estimate of it, in units of `quad`, not rounded down; may be negative. iterations: of
    whatever method ended with the last. converged: whether it ended by itself and not by the
    deadline.
    """

    functions: tuple[ConvexFunction, ...]
    point: Vector
    bound: float
    iterations: int
    converged: bool


def reformulate(
    quad: Matrix,
    legal: MaskSet,
    method: str,
    deadline: Deadline,
    effort: Effort | None = None,
) -> Reformulation:
    """The functions of one method; quad: (n, n) float64, mean diagonal near 1.

    effort: what `sdp-triangles` spends; None: the defaults of `Effort`, which suit n up to 400.
    An expired deadline leaves `none`, and so does a row whose hull says everything (one legal mask,
    or Q = 0). Raises InputError for an unknown method.
    """
    if method not in METHODS:
        raise InputError(f"reformulation is '{method}', expected one of {', '.join(METHODS)}")
    single = legal.equal_groups is not None and legal.single
    if deadline.expired() or single or not quad.any():
        return _on_hull(quad, legal, np.zeros(legal.n), deadline)
    if method == "sdp":
        return _semidefinite(quad, legal, relaxations(quad, legal, deadline), deadline)
    if method == "sdp-triangles":
        both = relaxations(quad, legal, deadline, Effort() if effort is None else effort)
        return _semidefinite(quad, legal, both, deadline)
    return _on_hull(quad, legal, largest_shift(quad, method), deadline)


def _semidefinite(
    quad: Matrix, legal: MaskSet, found: Sequence[SdpSolution], deadline: Deadline
) -> Reformulation:
    """The functions of relaxations in order of their bounds, or `none` when stopped before it paid.

    A repair that lowers u by c takes c sum of z_i (1 - z_i) off F, at most n c / 4.
    """
    kept: list[SdpSolution] = []
    for solution in found:
        function = convexify.repair(quad, legal, solution.function)
        lowered = float((solution.function.u - function.u).max())
        bound = solution.bound - 0.25 * legal.n * lowered
        if not kept or bound > kept[-1].bound:
            kept.append(replace(solution, function=function, bound=bound))
    best = kept[-1]
    if not best.converged:
        plain = _on_hull(quad, legal, np.zeros(legal.n), deadline)
        if plain.bound > best.bound:
            return plain
    functions = tuple(solution.function for solution in kept)
    return Reformulation(functions, best.point, best.bound, best.iterations, best.converged)


def _on_hull(quad: Matrix, legal: MaskSet, u: Vector, deadline: Deadline) -> Reformulation:
    """The repaired function of u, minimised over the hull."""
    function = convexify.of_diagonal(legal, u)
    function = convexify.repair(quad, legal, function)
    convex = Quadratic(*convexify.quadratic(quad, legal, function))
    lowest = hull.minimise(convex, legal, deadline)
    return Reformulation(
        (function,), lowest.x, lowest.bound, lowest.iterations, not deadline.expired()
    )

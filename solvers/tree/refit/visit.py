"""One look at a node: its bound, what it forces, a mask, what splits cost.

On the free columns of a node (`tree.refit.reduced`) the saddle point of `bounds.perspective` gives
a diagonal D and a change delta = w - x of the weights. For the whole row they are completed so that
a checker can make the bound again from H alone: with h = H delta and N the columns not pruned,

    g(z)  >=  delta^T h - sum_N h_j^2 / D_j + sum_N z_j c_j,      c_j = (h_j + D_j x_j)^2 / D_j,

for every mask z of the node, as long as H - Diag(D) is semidefinite on N and delta = w on the
pruned columns. Kept columns need no D, but a number to divide by: D_K is a little of `spare`, a
diagonal that lies below H, and all of D_F is shrunk by the same little; delta_K makes h_K zero.
Pruned columns have D = 0 here.

The bound is less what its float64 evaluation can have rounded, taken twice.

    forced     a free column of which one side's bound, by c, reaches the cut
    mask       in each group, the columns with the least kept shares are pruned
    saliency   w'_j^2 / (H'^-1)_jj of a free column: what pruning it costs at once
"""

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from maskgap.instances.arrays import Flags, Vector
from maskgap.instances.masks.groups import BudgetGroups
from maskgap.instances.masks.state import FREE, KEPT, PRUNED, States
from maskgap.solvers.bounds.perspective.dense import cholesky, inverse, solve
from maskgap.solvers.bounds.perspective.saddle import group_bound, saddle
from maskgap.solvers.kernels.jit import unchecked
from maskgap.solvers.tree.refit.reduced import (
    Whole,
    block,
    counted,
    reduce_node,
    settle,
)

SHRINKS = np.array([1e-8, 1e-7, 1e-6, 1e-5, 1e-4])
"""The shares by which a diagonal is shrunk, until a factor shows that it holds."""

LOWERED = 20.0
"""n (n + 8) r H_jj times this is more than a checker takes off a diagonal for rounding."""

ABOVE = 10.0
"""Diagonals of kept columns are at least this many times that."""

ROUNDING = 2.0**-53

MOST_STEPS = 60
"""To a saddle point."""

OPEN, FORCED, NO_MASK, NO_BOUND = 0, 1, -1, 2
"""What a look says of a node; FORCED: all its columns are, NO_BOUND: none could be made."""


@unchecked
def _definite(hessian, diagonal, live, room):  # type: ignore[no-untyped-def]
    """Whether H - Diag(D) less the room has a factor on some columns, scaled to a unit diagonal."""
    m = len(live)
    matrix, lower, unit = np.empty((m, m)), np.zeros((m, m)), np.empty(m)
    for i in range(m):
        unit[i] = 1.0 / np.sqrt(hessian[live[i], live[i]])
    for i in range(m):
        for j in range(i + 1):
            matrix[i, j] = hessian[live[i], live[j]] * unit[i] * unit[j]
        matrix[i, i] -= diagonal[live[i]] * unit[i] * unit[i] + room
    return cholesky(matrix, lower)


@unchecked
def _evaluate(hessian, weight, state, diagonal, lower, delta, slope):  # type: ignore[no-untyped-def]
    """The constant of the minorant less its rounding; c of the free columns goes to `slope`.

    lower: (n,) what a checker may take off the diagonal. Allowances are those of
    `benchmarks.verify.perspective` with twice their factors.
    """
    n = len(weight)
    gamma = 2.0 * (n + 24) * ROUNDING
    reach = 0.0
    for j in range(n):
        reach += np.sqrt(hessian[j, j]) * abs(delta[j])
    constant, error = 0.0, 0.0
    for j in range(n):
        h = 0.0
        for k in range(n):
            h += hessian[j, k] * delta[k]
        off = 1.1 * gamma * reach * np.sqrt(hessian[j, j])
        constant += delta[j] * h
        error += abs(delta[j]) * off + gamma * abs(delta[j] * h)
        if state[j] != PRUNED:
            d = diagonal[j] - lower[j]
            upper = (abs(h) + off) ** 2 / d
            constant -= upper
            error += gamma * upper
            if state[j] == FREE:
                kept = d * (weight[j] - delta[j])
                force = abs(h + kept)
                force -= off + gamma * (abs(kept) + force)
                slope[j] = max(0.0, force) ** 2 / d * (1.0 - 8.0 * gamma)
    return constant - error


class Look(NamedTuple):
    """What one look at a node found, for all columns.

    status: one of those above. bound, value: of the node, and of its perspective function.
    diagonal, delta, z, slope: (n,) D, the change of the weights, z and c. pruned: (n,) a mask, and
    loss its g, inf where none was made. saliency: (n,) of free columns. barrier: where the steps
    ended, for a warm start.
    """

    status: int
    bound: float
    value: float
    diagonal: Vector
    delta: Vector
    z: Vector
    slope: Vector
    pruned: Flags
    loss: float
    saliency: Vector
    barrier: float
    steps: int


class Aim(NamedTuple):
    """What a look is to find out.

    cut: the bound at which the node closes. enough: the share of `perspective.saddle` at which it
    is known not to. limit: (1,) int64, steps at most, as there.
    """

    cut: float
    enough: float
    limit: NDArray[np.int64]


class Warm(NamedTuple):
    """Where the steps begin: D and z of all columns (n,), and a barrier.

    Barrier 0: a cold start, which takes D for a feasible one.
    """

    diagonal: Vector
    z: Vector
    barrier: float


def look(whole: Whole, budget: BudgetGroups, state: States, warm: Warm, aim: Aim) -> Look:
    """Look at a node; `state` is settled in place."""
    cut, enough, limit = aim
    n = len(state)
    # each of its own, as nodes keep some of them
    diagonal, delta, z, slope, saliency = (np.zeros(n) for _ in range(5))
    pruned = state == PRUNED

    def found(
        status: int, bound: float, value: float, barrier: float = 0.0, steps: int = 0
    ) -> Look:
        return Look(
            status, bound, value, diagonal, delta, z, slope, pruned, np.inf, saliency,
            barrier, steps,
        )  # fmt: skip

    left, size = counted(state, whole.groups, budget.count, budget.pruned)
    if not settle(state, whole.groups, left, size):
        return found(NO_MASK, np.inf, np.inf)
    pruned = state == PRUNED
    made, own = reduce_node(whole, state, left, size)
    delta[pruned], z[pruned] = whole.weight[pruned], 1.0
    if not made:
        return found(NO_BOUND, -np.inf, np.inf)
    value, barrier, steps, reduced_diagonal = own.base, 0.0, 0, np.empty(0)
    if len(own.free):
        known, above, reduced_diagonal, shares, _, change, barrier, steps = saddle(
            own.hessian, own.weight, own.groups, own.left,
            (cut - own.base) * (1.0 + 1e-7) + 1e-7 * own.base,
            warm.diagonal[own.free], warm.z[own.free], warm.barrier, enough, limit,
        )  # fmt: skip
        if not known > -np.inf:
            return found(NO_BOUND, -np.inf, np.inf)
        value += above
        z[own.free] = shares
        delta[own.free] = whole.weight[own.free] - (own.weight - change)
    constant = complete(whole, own, state, reduced_diagonal, diagonal, delta, slope)
    if not constant > -np.inf:
        return found(NO_BOUND, -np.inf, value, barrier, steps)
    if not len(own.free):
        return found(FORCED, constant, value, barrier, steps)._replace(loss=own.base)
    bound = constant + group_bound(slope[own.free], own.groups, own.left, own.size)
    if bound >= cut:
        return found(OPEN, bound, value, barrier, steps)
    made, loss = rounded(own, z, pruned, saliency)
    if not made:
        return found(NO_BOUND, -np.inf, value, barrier, steps)
    return found(OPEN, bound, value, barrier, steps)._replace(loss=loss)


@unchecked
def complete(whole, own, state, reduced_diagonal, diagonal, delta, slope):  # type: ignore[no-untyped-def]
    """Complete D and delta on the kept columns; the constant of the minorant, -inf where none is.

    reduced_diagonal: (m,) of the free columns. diagonal, delta: (n,), delta is done but for the
    kept columns. slope: (n,), which takes c of the free columns.
    """
    hessian, kept, free = whole.hessian, own.kept, own.free
    n, m = len(delta), len(free)
    # x of kept columns so that h is zero there
    pull = np.zeros(len(kept))
    for i in range(len(kept)):
        for j in range(n):
            if state[j] != KEPT:
                pull[i] -= hessian[kept[i], j] * delta[j]
    if len(kept):
        solve(own.lower, pull)
    for i in range(len(kept)):
        delta[kept[i]] = pull[i]

    alive = np.empty(len(kept) + m, np.int64)
    for i in range(len(kept)):
        alive[i] = kept[i]
    for i in range(m):
        alive[len(kept) + i] = free[i]
    room = 4.0 * n * (n + 8) * ROUNDING
    taken = np.empty(n)
    for j in range(n):
        taken[j] = LOWERED * n * (n + 8) * ROUNDING * hessian[j, j]
    for shrink in SHRINKS:
        for i in range(m):
            diagonal[free[i]] = (1.0 - shrink) * reduced_diagonal[i]
        for i in range(len(kept)):
            little = max(shrink * whole.spare[kept[i]], ABOVE * taken[kept[i]])
            diagonal[kept[i]] = little if m else 0.5 * whole.spare[kept[i]]
        if _definite(hessian, diagonal, alive, room):
            return _evaluate(hessian, whole.weight, state, diagonal, taken, delta, slope)
    return -np.inf


@unchecked
def rounded(own, z, pruned, saliency):  # type: ignore[no-untyped-def]
    """A mask by z (n,), added to `pruned` (n,), and saliencies (n,): (whether they are, its g)."""
    free, moved, m = own.free, own.weight, len(own.free)
    factor, work, back = np.zeros((m, m)), np.empty((m, m)), np.empty((m, m))
    if not cholesky(own.hessian, factor):
        return False, np.inf
    inverse(factor, work, back)
    order = np.argsort(-z[free])
    taken = np.zeros(len(own.left), np.int64)
    cut_out = np.empty(m, np.int64)
    p = 0
    for i in order:
        if taken[own.groups[i]] < own.left[own.groups[i]]:
            taken[own.groups[i]] += 1
            pruned[free[i]] = True
        saliency[free[i]] = moved[i] * moved[i] / back[i, i]
    for i in range(m):
        if pruned[free[i]]:
            cut_out[p] = i
            p += 1
    cut_out = cut_out[:p]
    part, part_lower, lost = block(back, cut_out, cut_out), np.zeros((p, p)), moved[cut_out]
    if not cholesky(part, part_lower):
        return True, np.inf
    solve(part_lower, lost)
    loss = own.base
    for i in range(p):
        loss += moved[cut_out[i]] * lost[i]
    return True, loss


@unchecked
def sides(slope, state, groups, left, bound):  # type: ignore[no-untyped-def]
    """(n,) bounds of the side of each free column that c speaks against, and which side that is.

    The bounds are of nodes where the column is pruned (side PRUNED) though not among the least of
    its group, or kept (side KEPT) though it is; -inf where the column is not free. left: (groups,)
    columns still to prune, fewer than are free.
    """
    n = len(state)
    found, side = np.full(n, -np.inf), np.full(n, FREE, np.int8)
    for g in range(len(left)):
        own = np.empty(n, np.int64)
        count = 0
        for j in range(n):
            if groups[j] == g and state[j] == FREE:
                own[count] = j
                count += 1
        if count == 0:
            continue
        own = own[:count]
        order = own[np.argsort(slope[own])]
        last, following = slope[order[left[g] - 1]], slope[order[left[g]]]
        for i in range(count):
            j = order[i]
            if i < left[g]:
                found[j], side[j] = bound + following - slope[j], KEPT
            else:
                found[j], side[j] = bound + slope[j] - last, PRUNED
    return found, side


def warm_up() -> None:
    """Compile the kernels, or load them; those of the saddle point are its own."""
    state, groups = np.full(4, FREE, np.int8), np.zeros(4, np.int64)
    whole = Whole(np.eye(4) + 0.1, np.arange(1.0, 5.0), np.ones(4), groups)
    left, size = counted(state, groups, 1, 2)
    settle(state, groups, left, size)
    _, own = reduce_node(whole, state, left, size)
    half, slope = np.full(4, 0.5), np.zeros(4)
    complete(whole, own, state, half, half.copy(), whole.weight.copy(), slope)
    group_bound(slope, own.groups, own.left, own.size)
    rounded(own, half, state == PRUNED, slope)
    sides(slope, state, groups, left, 0.0)

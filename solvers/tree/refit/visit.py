"""One look at a node in compiled code: its bound, what it forces, a mask, what splits cost.

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

import numpy as np

from maskgap.instances.masks.state import FREE, KEPT, PRUNED
from maskgap.solvers.bounds.perspective.dense import cholesky, inverse, solve
from maskgap.solvers.bounds.perspective.saddle import group_bound, saddle
from maskgap.solvers.kernels.jit import strict
from maskgap.solvers.tree.refit.reduced import block, factor_of_kept, places, reduced

SHRINKS = np.array([1e-8, 1e-7, 1e-6, 1e-5, 1e-4])
"""The shares by which a diagonal is shrunk, until a factor shows that it holds."""

LOWERED = 20.0
"""n (n + 8) r H_jj times this is more than a checker takes off a diagonal for rounding."""

ABOVE = 10.0
"""Diagonals of kept columns are at least this many times that."""

ROUNDING = 2.0**-53


@strict
def settle(state, groups, left, size):  # type: ignore[no-untyped-def]
    """Force the free columns of groups that have one choice left; False where one has none.

    left: (groups,) columns still to prune. size: (groups,) free columns. All three are updated.
    """
    for g in range(len(left)):
        if left[g] < 0 or left[g] > size[g]:
            return False
    for j in range(len(state)):
        if state[j] == FREE:
            g = groups[j]
            if left[g] == 0:
                state[j] = KEPT
            elif left[g] == size[g]:
                state[j] = PRUNED
    for g in range(len(left)):
        if left[g] == 0 or left[g] == size[g]:
            left[g] = size[g] = 0
    return True


@strict
def counted(state, groups, pruned, size):  # type: ignore[no-untyped-def]
    """(columns still to prune, free columns) of each group. pruned: columns that each prunes."""
    left, free = np.full(size[0], pruned), np.zeros(size[0], np.int64)
    for j in range(len(state)):
        if state[j] == PRUNED:
            left[groups[j]] -= 1
        elif state[j] == FREE:
            free[groups[j]] += 1
    return left, free


@strict
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


@strict
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


@strict
def look(  # type: ignore[no-untyped-def]
    hessian,
    weight,
    spare,
    groups,
    count,
    pruned,
    state,
    cut,
    diagonal_then,
    z_then,
    barrier,
    enough,
):
    """Look at a node; `state` is settled in place.

    hessian: H (n, n); weight, spare, diagonal_then, z_then: (n,) of all columns; groups: (n,)
    int64; count, pruned: of groups, and of columns that each prunes; barrier: of a warm start, or
    0 for a cold one, which takes `diagonal_then` for a feasible D. Returns (status, bound, value,
    D (n,), delta (n,), z (n,), c (n,), mask pruned (n,) bool, its g, saliency (n,), barrier,
    steps). status: 0 open, 1 all columns are forced, -1 no mask is left, 2 no bound could be made.
    """
    n = len(weight)
    diagonal, delta, z, slope = np.zeros(n), np.zeros(n), np.zeros(n), np.zeros(n)
    chosen, saliency = np.zeros(n, np.bool_), np.zeros(n)
    left, size = counted(state, groups, pruned, np.full(1, count))
    if not settle(state, groups, left, size):
        return -1, np.inf, np.inf, diagonal, delta, z, slope, chosen, np.inf, saliency, 0.0, 0
    kept = places(state, KEPT)
    lower, good = factor_of_kept(hessian, kept)
    free, inner, moved, base, made = reduced(hessian, weight, state, lower)
    m = len(free)
    for j in range(n):
        if state[j] == PRUNED:
            delta[j], z[j], chosen[j] = weight[j], 1.0, True
    if not (good and made):
        return 2, -np.inf, np.inf, diagonal, delta, z, slope, chosen, np.inf, saliency, 0.0, 0
    steps, value, mu, mask_value = 0, base, 0.0, base
    reduced_diagonal = np.empty(m)
    if m:
        number = np.full(count, -1)
        live = 0
        for g in range(count):
            if size[g] > 0:
                number[g] = live
                live += 1
        own, own_left = np.empty(m, np.int64), np.empty(live, np.int64)
        for i in range(m):
            own[i] = number[groups[free[i]]]
            own_left[own[i]] = left[groups[free[i]]]
        found = saddle(
            inner, moved, own, own_left, (cut - base) * (1.0 + 1e-7) + 1e-7 * base,
            diagonal_then[free], z_then[free], barrier, enough, 60,
        )  # fmt: skip
        if not found[0] > -np.inf:
            return 2, -np.inf, np.inf, diagonal, delta, z, slope, chosen, np.inf, saliency, 0.0, 0
        value, mu, steps = base + found[1], found[6], found[7]
        reduced_diagonal = found[2]
        for i in range(m):
            z[free[i]] = found[3][i]
            delta[free[i]] = weight[free[i]] - (moved[i] - found[5][i])
    # x of kept columns so that h is zero there
    pull = np.zeros(len(kept))
    for i in range(len(kept)):
        for j in range(n):
            if state[j] != KEPT:
                pull[i] -= hessian[kept[i], j] * delta[j]
    if len(kept):
        solve(lower, pull)
    for i in range(len(kept)):
        delta[kept[i]] = pull[i]

    alive = np.concatenate((kept, free))
    room = 4.0 * n * (n + 8) * ROUNDING
    taken = np.empty(n)
    for j in range(n):
        taken[j] = LOWERED * n * (n + 8) * ROUNDING * hessian[j, j]
    good = False
    for shrink in SHRINKS:
        for i in range(m):
            diagonal[free[i]] = (1.0 - shrink) * reduced_diagonal[i]
        for i in range(len(kept)):
            little = max(shrink * spare[kept[i]], ABOVE * taken[kept[i]])
            diagonal[kept[i]] = little if m else 0.5 * spare[kept[i]]
        if _definite(hessian, diagonal, alive, room):
            good = True
            break
    if not good:
        return 2, -np.inf, value, diagonal, delta, z, slope, chosen, np.inf, saliency, mu, steps
    constant = _evaluate(hessian, weight, state, diagonal, taken, delta, slope)
    if m == 0:
        return 1, constant, value, diagonal, delta, z, slope, chosen, base, saliency, mu, steps
    bound = constant + group_bound(slope[free], own, own_left, size[size > 0])
    if bound >= cut:
        return 0, bound, value, diagonal, delta, z, slope, chosen, np.inf, saliency, mu, steps

    # a mask, and what splits would cost
    factor, work, back = np.zeros((m, m)), np.empty((m, m)), np.empty((m, m))
    if not cholesky(inner, factor):
        return 2, -np.inf, value, diagonal, delta, z, slope, chosen, np.inf, saliency, mu, steps
    inverse(factor, work, back)
    order = np.argsort(-z[free])
    taken = np.zeros(len(own_left), np.int64)
    for i in order:
        if taken[own[i]] < own_left[own[i]]:
            taken[own[i]] += 1
            chosen[free[i]] = True
        saliency[free[i]] = moved[i] * moved[i] / back[i, i]
    cut_out = np.empty(m, np.int64)
    p = 0
    for i in range(m):
        if chosen[free[i]]:
            cut_out[p] = i
            p += 1
    cut_out = cut_out[:p]
    part, part_lower, lost = block(back, cut_out, cut_out), np.zeros((p, p)), moved[cut_out]
    mask_value = np.inf
    if cholesky(part, part_lower):
        solve(part_lower, lost)
        mask_value = base
        for i in range(p):
            mask_value += moved[cut_out[i]] * lost[i]
    return 0, bound, value, diagonal, delta, z, slope, chosen, mask_value, saliency, mu, steps


@strict
def sides(slope, state, groups, left, bound, cut):  # type: ignore[no-untyped-def]
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

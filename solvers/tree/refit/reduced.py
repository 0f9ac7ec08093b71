"""The refit problem of a node, on its free columns alone.

With columns K kept and P pruned, what is left of min (x - w)^T H (x - w) over the free columns F is
a problem of the same kind: x_K is minimised out, which leaves the Schur complement

    H' = H_RR - H_RK H_KK^-1 H_KR,     R = F + P,

and x_P = 0 moves the weights and costs a constant (the Optimal Brain Surgeon update of the set P):

    w'_F = w_F + H'_FF^-1 H'_FP w_P,   base = w_P^T (H'_PP w_P - H'_PF (w'_F - w_F)),
    g(z) = base + min over x_F, 0 where pruned, of (x_F - w'_F)^T H'_FF (x_F - w'_F).

Cost: n^3 / 3 operations at most.
"""

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from maskgap.instances.arrays import Matrix, Vector
from maskgap.instances.masks.state import FREE, KEPT, PRUNED
from maskgap.solvers.bounds.perspective.dense import cholesky, forward, solve
from maskgap.solvers.kernels.jit import unchecked


class Whole(NamedTuple):
    """What is asked of all nodes: H (n, n), w (n,), a diagonal below H (n,), groups (n,) int64."""

    hessian: Matrix
    weight: Vector
    spare: Vector
    groups: NDArray[np.int64]


class Reduced(NamedTuple):
    """The problem of a node on its m free columns.

    kept, free: columns. lower: factor of H on those kept. hessian (m, m), weight (m,), base: of
    `reduced`. groups: (m,) numbers of the groups that have free columns; left, size: columns to
    prune, and free ones, of each of these.
    """

    kept: NDArray[np.int64]
    free: NDArray[np.int64]
    lower: Matrix
    hessian: Matrix
    weight: Vector
    base: float
    groups: NDArray[np.int64]
    left: NDArray[np.int64]
    size: NDArray[np.int64]


@unchecked
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


@unchecked
def counted(state, groups, count, pruned):  # type: ignore[no-untyped-def]
    """(columns still to prune, free columns) of each of `count` groups, which prune `pruned`."""
    left, free = np.full(count, pruned), np.zeros(count, np.int64)
    for j in range(len(state)):
        if state[j] == PRUNED:
            left[groups[j]] -= 1
        elif state[j] == FREE:
            free[groups[j]] += 1
    return left, free


@unchecked
def places(state, wanted):  # type: ignore[no-untyped-def]
    """The columns (int64) in a state."""
    count = 0
    for j in range(len(state)):
        if state[j] == wanted:
            count += 1
    found = np.empty(count, np.int64)
    count = 0
    for j in range(len(state)):
        if state[j] == wanted:
            found[count] = j
            count += 1
    return found


@unchecked
def block(hessian, rows, columns):  # type: ignore[no-untyped-def]
    """A copy of the entries at rows and columns."""
    found = np.empty((len(rows), len(columns)))
    for i in range(len(rows)):
        for j in range(len(columns)):
            found[i, j] = hessian[rows[i], columns[j]]
    return found


@unchecked
def factor_of_kept(hessian, kept):  # type: ignore[no-untyped-def]
    """The Cholesky factor of H_KK (k, k), and whether there is one."""
    lower = np.zeros((len(kept), len(kept)))
    return lower, cholesky(block(hessian, kept, kept), lower)


@unchecked
def reduced(hessian, weight, state, lower):  # type: ignore[no-untyped-def]
    """The node's problem: (free columns, H'_FF (m, m), w'_F (m,), base, whether it could be made).

    hessian: (n, n); weight: (n,); state: (n,); lower: of `factor_of_kept`.
    """
    kept, free, pruned = places(state, KEPT), places(state, FREE), places(state, PRUNED)
    m, p = len(free), len(pruned)
    rest = np.concatenate((free, pruned))
    schur = block(hessian, rest, rest)
    if len(kept):
        across = block(hessian, kept, rest)
        forward(lower, across)
        schur -= np.dot(across.T, across)
    inner = schur[:m, :m].copy()
    moved = weight[free]
    pull = np.zeros(m + p)
    for j in range(m + p):
        for i in range(p):
            pull[j] += schur[j, m + i] * weight[pruned[i]]
    base = 0.0
    for i in range(p):
        base += weight[pruned[i]] * pull[m + i]
    if m == 0 or p == 0:
        return free, inner, moved, base, True
    own = np.zeros((m, m))
    if not cholesky(inner, own):
        return free, inner, moved, base, False
    change = pull[:m].copy()
    solve(own, change)
    for j in range(m):
        base -= change[j] * pull[j]
        moved[j] += change[j]
    return free, inner, moved, base, True


@unchecked
def reduce_node(whole, state, left, size):  # type: ignore[no-untyped-def]
    """(Whether it can be made, the `Reduced` of a settled node). left, size: of `settle`."""
    kept = places(state, KEPT)
    lower, good = factor_of_kept(whole.hessian, kept)
    free, inner, moved, base, made = reduced(whole.hessian, whole.weight, state, lower)
    number = np.full(len(left), -1)
    live = 0
    for g in range(len(left)):
        if size[g] > 0:
            number[g] = live
            live += 1
    own, own_left, own_size = (
        np.empty(len(free), np.int64),
        np.empty(live, np.int64),
        np.empty(live, np.int64),
    )
    for i in range(len(free)):
        g = whole.groups[free[i]]
        own[i] = number[g]
        own_left[own[i]], own_size[own[i]] = left[g], size[g]
    made = made and good
    return made, Reduced(kept, free, lower, inner, moved, base, own, own_left, own_size)

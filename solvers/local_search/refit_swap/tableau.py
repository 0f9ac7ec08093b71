"""Compiled kernels of 1-swap search on the refit loss, on a tableau of principal pivots.

On m free columns the loss of keeping S and pruning the others, P, is

    g(S) = min over x, x_P = 0, of  x^T A x - 2 b^T x + c,      A (m, m) positive definite.

The tableau is the symmetric (m + 1, m + 1) matrix made from [[A, b], [b^T, c]] by sweeping S:

    -A_SS^-1      T       x_S          T = A_SS^-1 A_SP
       T^T        C       r_P          C = A_PP - A_PS T,   r_P = b_P - A_PS x_S
      x_S^T     r_P^T      g           x_S = A_SS^-1 b_S, the re-optimised weights

Sweeping k, with d its diagonal entry and u its column, moves k from P to S, or back:

    M_kk <- -1 / d,     M_ak <- u_a / |d|,     M_ab <- M_ab - u_a u_b / d       (a, b not k)

as d > 0 on P and d < 0 on S. So keeping a column i of P lowers g by r_i^2 / C_ii, pruning a column
j of S raises it by x_j^2 / B_jj, B = A_SS^-1, and doing both changes it by

    delta(j, i) = (x_j - T_ji r_i / C_ii)^2 / (B_jj + T_ji^2 / C_ii) - r_i^2 / C_ii:

all pairs cost O(|S| |P|) and an exchange one pass over the tableau. Pairs are compared without
division, delta < best being

    (x_j - T_ji r_i / C_ii)^2 < (best + r_i^2 / C_ii) (B_jj + T_ji^2 / C_ii),

and a column i whose own gain does not exceed -best is skipped.

Only the upper triangle is kept. Columns are cut into groups at `offsets` (groups + 1,), and swaps
stay inside a group. Nothing depends on the scale of A, b and c by powers of two. Rounding adds up
with the pivots: who calls takes a fresh tableau now and then (`refit_swap.walker`).
"""

import numpy as np

from maskgap.solvers.kernels.jit import kernel

_FUSED = frozenset({"contract", "nnan", "nsz"})
"""Products and sums may be fused; no NaN is ever given."""


@kernel(_FUSED, error_model="numpy")
def _column(table, k, column):  # type: ignore[no-untyped-def]
    """Copy column k of the symmetric matrix of which the upper triangle is kept."""
    for a in range(k):
        column[a] = table[a, k]
    for a in range(k, len(table)):
        column[a] = table[k, a]


@kernel(_FUSED, error_model="numpy")
def pivot(table, kept, k, u):  # type: ignore[no-untyped-def]
    """Sweep column k: keep it if it is pruned, prune it if it is kept. u: (m + 1,) a buffer."""
    size = len(table)
    _column(table, k, u)
    d = u[k]
    u[k] = 0.0
    for a in range(size):
        factor = u[a] / d
        row = table[a]
        for b in range(a, size):
            row[b] -= factor * u[b]
    scale = 1.0 / abs(d)
    for a in range(k):
        table[a, k] = u[a] * scale
    for b in range(k + 1, size):
        table[k, b] = u[b] * scale
    table[k, k] = -1.0 / d
    kept[k] = not kept[k]


@kernel(_FUSED, error_model="numpy")
def exchange(table, kept, j, i, u, v):  # type: ignore[no-untyped-def]
    """Prune the kept column j and keep the pruned column i, in one pass. u, v: buffers."""
    size = len(table)
    _column(table, i, u)
    _column(table, j, v)
    d = u[i]
    between = u[j]
    share = between / d
    for a in range(size):
        v[a] -= u[a] * share
    v[i] = share
    e = v[j]  # the diagonal entry of j once i is kept
    cross = share
    u[i] = u[j] = v[i] = v[j] = 0.0
    for a in range(size):
        one, other = u[a] / d, v[a] / e
        row = table[a]
        for b in range(a, size):
            row[b] -= one * u[b] + other * v[b]
    over_e, size_e = cross / e, 1.0 / abs(e)
    for a in range(size):
        if a != i and a != j:
            to_i, to_j = u[a] / d - v[a] * over_e, v[a] * size_e
            table[min(a, i), max(a, i)] = to_i
            table[min(a, j), max(a, j)] = to_j
    table[min(i, j), max(i, j)] = cross * size_e
    table[i, i] = -1.0 / d - cross * over_e
    table[j, j] = -1.0 / e
    kept[i], kept[j] = True, False


@kernel(_FUSED, error_model="numpy")
def best_exchange(table, kept, offsets, limit, work):  # type: ignore[no-untyped-def]
    """(delta, j, i) of the pair of least delta below `limit`; j = -1 where there is none.

    work: (5, m) a buffer.
    """
    m = len(kept)
    shift, inverse, gain, x, b = work[0], work[1], work[2], work[3], work[4]
    for a in range(m):
        d, q = table[a, a], table[a, m]
        if kept[a]:
            shift[a], inverse[a], gain[a], x[a], b[a] = 0.0, 0.0, -np.inf, q, -d
        else:
            shift[a], inverse[a], gain[a], x[a], b[a] = q / d, 1.0 / d, q * q / d, np.inf, 1.0
    best, at_j, at_i = limit, -1, -1
    for g in range(len(offsets) - 1):
        last = offsets[g + 1]
        for a in range(offsets[g], last):
            row, least = table[a], np.inf
            if kept[a]:
                xa, ba = x[a], b[a]
                for t in range(a + 1, last):
                    num = xa - row[t] * shift[t]
                    value = num * num - (best + gain[t]) * (ba + row[t] * row[t] * inverse[t])
                    least = value if value < least else least
                if least < 0.0:
                    for t in range(a + 1, last):
                        if not kept[t]:
                            num = xa - row[t] * shift[t]
                            delta = num * num / (ba + row[t] * row[t] * inverse[t]) - gain[t]
                            if delta < best:
                                best, at_j, at_i = delta, a, t
            elif best + gain[a] > 0.0:
                cut, sa, ia = best + gain[a], shift[a], inverse[a]
                for t in range(a + 1, last):
                    num = x[t] - row[t] * sa
                    value = num * num - cut * (b[t] + row[t] * row[t] * ia)
                    least = value if value < least else least
                if least < 0.0:
                    for t in range(a + 1, last):
                        if kept[t]:
                            num = x[t] - row[t] * sa
                            delta = num * num / (b[t] + row[t] * row[t] * ia) - gain[a]
                            if delta < best:
                                best, at_j, at_i = delta, t, a
    return best, at_j, at_i


@kernel(_FUSED, error_model="numpy")
def descend(table, kept, offsets, work, most, limits):  # type: ignore[no-untyped-def]
    """Take the best exchange until none improves, or `most`; (exchanges, whether none improves).

    limits: (share, floor); an exchange must lower the loss by this share of it, and by the floor.
    work: (5, m + 1) a buffer.
    """
    m = len(kept)
    for done in range(most):
        limit = -limits[0] * abs(table[m, m]) - limits[1]
        _, j, i = best_exchange(table, kept, offsets, limit, work[:, :m])
        if j < 0:
            return done, True
        exchange(table, kept, j, i, work[0], work[1])
    return most, False


@kernel(_FUSED, error_model="numpy")
def walk(table, kept, target, u):  # type: ignore[no-untyped-def]
    """Sweep every column whose state differs from `target` (m,); how many.

    Those to be kept come first: then no diagonal entry of those to be pruned is as small as it
    would be on fewer kept columns.
    """
    moved = 0
    for wanted in (True, False):
        for k in range(len(kept)):
            if target[k] == wanted and kept[k] != wanted:
                pivot(table, kept, k, u)
                moved += 1
    return moved


@kernel(_FUSED, error_model="numpy")
def move_greedily(table, kept, from_kept, offsets, left, factors, most, u):  # type: ignore[no-untyped-def]
    """Move the column whose move costs the loss least, until each group has moved `left` more.

    from_kept: True: kept columns are pruned, which raises the loss (the order of ExactOBS, arXiv
    2208.11580). False: pruned columns are kept, which lowers it. left: (groups,), brought down.
    factors: (m,), by which costs are scaled for the choice. most: columns at most. Returns how many
    were moved.
    """
    m = len(kept)
    done = 0
    while done < most:
        least, at, of = np.inf, -1, -1
        for g in range(len(left)):
            if left[g] > 0:
                for a in range(offsets[g], offsets[g + 1]):
                    if kept[a] == from_kept:
                        cost = -table[a, m] * table[a, m] / table[a, a] * factors[a]
                        if at < 0 or cost < least:
                            least, at, of = cost, a, g
        if at < 0:
            break
        pivot(table, kept, at, u)
        left[of] -= 1
        done += 1
    return done

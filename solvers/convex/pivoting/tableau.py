"""A convex quadratic over bounds and rows by a dual active-set method on a tableau, compiled.

    minimise x^T P x + q . x   over   l <= x <= u,  l_i <= (A x)_i <= u_i for rows i.

With forces r of bounds and v of rows, an optimum has 2 P x + q = r + A^T v; a force is at least 0
at a lower side, at most 0 at an upper one, and 0 between. Each of the N = n + m indices, variables
and rows alike, has a position and a force: it is *tight*, held at a side with a force that follows,
or *loose*, with force 0 and a position that follows. The tableau T gives what follows from what is
held, y = T z, and one principal pivot makes a loose index tight or a tight one loose: N^2 steps.

The method (Goldfarb and Idnani, Math. Programming 27, 1983) keeps all forces of the right sign and
makes positions fit: a loose index outside of its sides is pushed back, tight ones whose force
comes to 0 on the way are let loose. The value rises all along. A child of a node of a search begins
with the tableau of its parent, one side moved.

Whatever the tableau has lost in rounding, the bound is made from P again: for any x and v,

    f  >=  -x^T P x + sum of min over [l_j, u_j] of d_j t + sum of v_i times the side of its sign,
    d = 2 P x + q - A^T v.
"""

import numpy as np

from maskgap.solvers.kernels.jit import unchecked

LOOSE, LOWER, UPPER = 0, 1, 2
OPTIMAL, EMPTY, CUT, UNFINISHED = 0, 1, 2, 3

SOFT = 1e-11
"""A position that gives by less than this share of the largest is held by tight ones; on a tableau
made anew, than this share of what it gives by where no row is tight."""

ROUNDED = 1e-13
"""Share of the terms' sizes by which forces have to beat a box for a proof that it is empty."""


@unchecked
def pivot(T, k):  # type: ignore[no-untyped-def]
    """Exchange what is held and what follows at index k, in place."""
    N = len(T)
    inverse = 1.0 / T[k, k]
    for i in range(N):
        if i != k and T[i, k] != 0.0:
            share = T[i, k] * inverse
            for j in range(N):
                T[i, j] -= share * T[k, j]
            T[i, k] = share
    for j in range(N):
        T[k, j] *= -inverse
    T[k, k] = inverse


@unchecked
def rebuild(K, state, linear, lower, upper, T, z):  # type: ignore[no-untyped-def]
    """The tableau and the held values of a state, from K = [2P, -A^T; A, 0]."""
    N, n = len(K), len(linear)
    T[:] = K
    for k in range(n):
        if state[k] == LOOSE:
            pivot(T, k)
    for k in range(n, N):
        if state[k] != LOOSE:
            if abs(T[k, k]) < 1e-13:
                state[k] = LOOSE
            else:
                pivot(T, k)
    for k in range(N):
        if state[k] == LOOSE:
            z[k] = -linear[k] if k < n else 0.0
        else:
            z[k] = lower[k] if state[k] == LOWER else upper[k]


@unchecked
def push(K, T, z, y, state, linear, lower, upper, p, anew):  # type: ignore[no-untyped-def]
    """Make a loose index that misses a side tight there; False where nothing can move it.

    anew: whether T was just made from K.
    """
    N, n = len(T), len(linear)
    below = y[p] < lower[p]
    sign = 1.0 if below else -1.0
    goal = lower[p] if below else upper[p]
    for _ in range(4 * N):
        largest = 0.0
        for k in range(N):
            largest = max(largest, abs(T[k, p]))
        gives = T[p, p]
        held = SOFT * (_gives_alone(K, state, n, p) if anew else largest)
        full = (goal - y[p]) * sign / gives if gives > held else np.inf
        full = max(full, 0.0)
        first, at = np.inf, -1
        for k in range(N):
            if state[k] != LOOSE and lower[k] < upper[k]:
                force = y[k] + (linear[k] if k < n else 0.0)
                rate = T[k, p] * sign
                if state[k] == LOWER:
                    force, rate = force, -rate
                else:
                    force, rate = -force, rate
                if rate > 1e-14 * largest:
                    step = max(force, 0.0) / rate
                    if step < first:
                        first, at = step, k
        if first < full:
            z[p] += sign * first
            if abs(T[at, at]) < 1e-300:
                return False
            pivot(T, at)
            state[at] = LOOSE
            z[at] = -linear[at] if at < n else 0.0
            y[:] = np.dot(T, z)
            continue
        if full == np.inf:
            return False
        pivot(T, p)
        state[p] = LOWER if below else UPPER
        z[p] = goal
        y[:] = np.dot(T, z)
        return True
    return False


@unchecked
def _gives_alone(K, state, n, p):  # type: ignore[no-untyped-def]
    """About what T[p, p] is where no row is tight, whatever the size of row p."""
    if p < n:
        return 1.0 / K[p, p]
    gives = 0.0
    for j in range(n):
        if state[j] == LOOSE:
            gives += K[p, j] * K[p, j] / K[j, j]
    return gives


@unchecked
def is_empty(A, T, y, state, lower, upper, p):  # type: ignore[no-untyped-def]
    """Whether the forces that hold an index p which misses a side prove a box to be empty (Farkas).

    With forces v of rows, 1 for p itself, all points have v . A x >= sum of v_i times the side of
    its sign, and the box may have v . A x < that throughout.
    """
    m, n = A.shape
    sign = 1.0 if y[p] < lower[p] else -1.0
    combined, sizes = np.zeros(n), np.zeros(n)
    total, size = 0.0, 0.0
    for i in range(m):
        k = n + i
        if k != p and state[k] == LOOSE:
            continue
        force = sign if k == p else sign * T[k, p]
        side = lower[k] if force > 0.0 else upper[k]
        if force == 0.0 or not np.isfinite(side):
            continue
        total += force * side
        size += abs(force * side)
        for j in range(n):
            combined[j] += force * A[i, j]
            sizes[j] += abs(force * A[i, j])
    for j in range(n):
        total -= combined[j] * (upper[j] if combined[j] > 0.0 else lower[j])
        size += sizes[j] * max(abs(lower[j]), abs(upper[j]))
    return total > ROUNDED * size


@unchecked
def read(z, y, state, lower, upper, x, forces):  # type: ignore[no-untyped-def]
    """Positions x (n,) of variables and forces (m,) of rows."""
    n = len(x)
    for k in range(n):
        x[k] = y[k] if state[k] == LOOSE else z[k]
        if not np.isfinite(x[k]):  # the tableau has lost it
            x[k] = 0.5 * (lower[k] + upper[k])
    for k in range(n, len(z)):
        # one of the wrong sign is rounding, and its side may be infinite
        force = 0.0
        if state[k] != LOOSE and lower[k] == upper[k]:
            force = y[k]
        elif state[k] == LOWER:
            force = max(y[k], 0.0)
        elif state[k] == UPPER:
            force = min(y[k], 0.0)
        forces[k - n] = force if np.isfinite(force) else 0.0


@unchecked
def safe_bound(P, linear, A, lower, upper, x, forces, reduced):  # type: ignore[no-untyped-def]
    """What x and the forces of rows prove of the box; reduced (n,) receives d."""
    n, m = len(linear), len(A)
    product = np.dot(P, x)
    total, size = 0.0, 0.0
    for j in range(n):
        d = 2.0 * product[j] + linear[j]
        for i in range(m):
            d -= A[i, j] * forces[i]
        reduced[j] = d
        side = d * lower[j] if d > 0.0 else d * upper[j]
        total += side - x[j] * product[j]
        size += abs(side) + abs(x[j] * product[j])
    for i in range(m):
        if forces[i] != 0.0:
            side = forces[i] * (lower[n + i] if forces[i] > 0.0 else upper[n + i])
            total += side
            size += abs(side)
    return total - 1e-15 * size


@unchecked
def optimise(K, T, z, y, state, linear, lower, upper, tolerance, cut, anew):  # type: ignore[no-untyped-def]
    """Push until all positions fit, or the value is beyond `cut`, or nothing fits.

    tolerance: (N,), by how much a position may miss a side for its size.

    Returns how it ended and the index that nothing can move, -1 for none.
    """
    N, n = len(T), len(linear)
    y[:] = np.dot(T, z)
    for _ in range(3 * N + 50):
        worst, p = 0.0, -1
        for k in range(N):
            if state[k] == LOOSE:
                size = tolerance[k] * max(1.0, abs(y[k]))
                missed = max(lower[k] - y[k], y[k] - upper[k])
                if missed > size and missed > worst:
                    worst, p = missed, k
        if p < 0:
            return OPTIMAL, -1
        if not push(K, T, z, y, state, linear, lower, upper, p, anew):
            return EMPTY, p
        value = 0.0
        for k in range(n):
            if state[k] == LOOSE:
                value += 0.5 * y[k] * linear[k]
            else:
                value += 0.5 * z[k] * (y[k] + 2.0 * linear[k])
        for k in range(n, N):
            if state[k] != LOOSE:
                value += 0.5 * z[k] * y[k]
        if value >= cut:
            return CUT, -1
    return UNFINISHED, -1

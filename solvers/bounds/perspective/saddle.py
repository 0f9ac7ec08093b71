"""The best diagonal of the perspective function and its minimum: one saddle point.

For weights w and H positive definite let, for D > 0 with H - Diag(D) positive semidefinite and kept
shares y in (0, 1], theta_j = D_j (1 / y_j - 1), b = H w,

    f_D(y) = min over x of  x^T (H + Diag(theta)) x - 2 b^T x + w^T b,

which is convex in y, concave in D, and g on masks (Dong, Chen, Linderoth, arXiv 1510.06083). The
bound of equal groups is max over D of min over y with k_g columns pruned in group g; at any pair
(D, y), for the minimising x, every mask z of the groups has

    g(z) >= f_D(y) + sum_j c_j (z_j - 1 + y_j),      c_j = D_j (x_j / y_j)^2,

so that one sort a group gives a lower bound at every iterate, converged or not. The saddle point of

    f_D(y) + mu (logdet(H - D) + sum log D) - mu (sum log y + sum log(1 - y)) + nu^T (A y - k)

is followed as mu falls, by primal-dual steps: X = mu (H - D)^-1, s = mu / D, u = mu / y and
v = mu / (1 - y) are variables of their own, and X (H - D) = mu I is made symmetric as in the HKM
direction. With M = H + Theta, V = (H - D)^-1, p = 1/y - 1, r = -D / y^2, a = p x, e = r x a step is

    [ -K  B ] [dD]      K = 2 (a a^T) * M^-1 + X * V + Diag(s / D)
    [ B^T C ] [dy],     B = -2 (a e^T) * M^-1 - Diag((x / y)^2)
                        C = -2 (e e^T) * M^-1 + Diag(2 x^2 D / y^3 + u / y + v / (1 - y))

    dX = mu V - X + (X Diag(dD) V + V Diag(dD) X) / 2

and is solved by Cholesky factors of K and of C + B^T K^-1 B: about 8 m^3 operations. Without X as a
variable most steps end at the boundary of H - D. Columns are scaled so that |w| is 1 where it is
not small.

A search wants no more than whether a node closes: steps end as soon as the bound reaches `cut`, or
the gap f_D(y) less the bound is small beside what f_D(y) still lacks of it. A warm start of D
between 0 and a feasible one, and y inside, is feasible at once.
"""

import numpy as np

from maskgap.solvers.bounds.perspective.boundary import reach, short_of
from maskgap.solvers.bounds.perspective.dense import (
    add_squares,
    cholesky,
    forward,
    inverse,
    solve,
)
from maskgap.solvers.kernels.jit import unchecked

LEAST_WEIGHT = 1e-3
"""Share of the largest |w| by which columns are scaled at least."""

LEAST_SHARE = 3e-2
"""Shares of a warm start are this far inside at least."""

CENTRING = 0.3
"""Share of the complementarity that a step aims at; its square after a full step."""


@unchecked
def group_bound(slope, groups, left, size):  # type: ignore[no-untyped-def]
    """The least sum of slopes (m,) over masks that prune left[g] of the columns of each group g.

    groups: (m,) the group of each column. size: (groups,) how many columns it has.
    """
    total = 0.0
    for g in range(len(left)):
        if left[g] == 0:
            continue
        own = np.empty(size[g])
        count = 0
        for j in range(len(slope)):
            if groups[j] == g:
                own[count] = slope[j]
                count += 1
        own.sort()
        for j in range(left[g]):
            total += own[j]
    return total


@unchecked
def saddle(  # type: ignore[no-untyped-def]
    hessian, weight, groups, left, cut, start_diagonal, start_pruned, barrier, enough, limit
):
    """Newton steps to the saddle point. Returns (bound, value, D, z, c, delta, barrier, steps).

    hessian: (m, m); weight: (m,); groups: (m,) int64; left: (groups,) columns to prune, more than 0
    and fewer than there are. start_diagonal: a feasible D strictly inside; start_pruned: z (m,),
    and a barrier weight mu; mu <= 0: a first one, from z alone. enough: the end comes where
    f - bound <= enough (cut - f), or 1e-9 |f|. bound, D, z, c, delta = w - x: of the best
    iterate; bound is -inf if there was none. limit: (1,) int64, steps at most; another thread may
    lower it, which ends the steps at the next.
    """
    m = len(weight)
    count = len(left)
    largest = 0.0
    for i in range(m):
        largest = max(largest, abs(weight[i]))
    scale, w = np.empty(m), np.empty(m)
    for i in range(m):
        scale[i] = max(abs(weight[i]), LEAST_WEIGHT * largest) if largest > 0.0 else 1.0
        w[i] = weight[i] / scale[i]
    h = np.empty((m, m))
    mean = 0.0
    for i in range(m):
        mean += hessian[i, i] * scale[i] * scale[i] / m
    for i in range(m):
        for j in range(m):
            h[i, j] = hessian[i, j] * scale[i] * scale[j] / mean
    b = np.zeros(m)
    for i in range(m):
        for j in range(m):
            b[i] += h[i, j] * w[j]
    whole = 0.0
    for i in range(m):
        whole += w[i] * b[i]
    cut = cut / mean
    mu = barrier / mean if barrier > 0.0 else 0.1 * max(whole, 1e-300) / m
    size = np.zeros(count, np.int64)
    for j in range(m):
        size[groups[j]] += 1

    x = np.empty(m)
    slope = np.empty(m)
    matrix, lower, own = np.empty((m, m)), np.empty((m, m)), np.empty((m, m))
    inner, room = np.empty((m, m)), np.empty((m, m))
    sides = np.empty((m, m + 1))
    edges = np.empty((m, count + 1))
    nu = np.zeros(count)
    primal, change = np.empty((m, m)), np.zeros((m, m))
    diagonal, y, lost = np.empty(m), np.empty(m), np.empty(m)
    of_diagonal, of_kept, of_pruned = np.empty(m), np.empty(m), np.empty(m)
    for i in range(m):
        diagonal[i] = start_diagonal[i] * scale[i] * scale[i] / mean
        y[i] = min(max(1.0 - start_pruned[i], LEAST_SHARE), 1.0 - LEAST_SHARE)
        of_diagonal[i], of_kept[i], of_pruned[i] = mu / diagonal[i], mu / y[i], mu / (1.0 - y[i])
    unit, across = np.empty(m), np.empty(m)
    step, dy, dz = np.empty(m), np.empty(m), np.empty(m)
    d_diagonal, d_kept, d_pruned = np.empty(m), np.empty(m), np.empty(m)
    off, wanted = np.empty(count), np.empty(count)
    normal, corner = np.empty((count, count)), np.empty((count, count))
    best, best_value, steps, full = -np.inf, 0.0, 0, False
    best_diagonal, best_z = np.zeros(m), np.zeros(m)
    best_slope, best_delta = np.zeros(m), np.zeros(m)
    while steps < limit[0]:
        steps += 1
        for i in range(m):
            for j in range(i + 1):
                matrix[i, j] = h[i, j]
            matrix[i, i] += diagonal[i] * (1.0 / y[i] - 1.0)
        if not cholesky(matrix, lower):
            break
        inverse(lower, own, inner)
        value = whole
        for i in range(m):
            total = 0.0
            for j in range(m):
                total += inner[i, j] * b[j]
            x[i] = total
            value -= b[i] * total
            slope[i] = diagonal[i] * (total / y[i]) ** 2
        for i in range(m):
            for j in range(i + 1):
                matrix[i, j] = h[i, j]
            matrix[i, i] -= diagonal[i]
        if not cholesky(matrix, lower):
            break
        bound = value + group_bound(slope, groups, left, size)
        for i in range(m):
            bound -= slope[i] * (1.0 - y[i])
        if bound > best:
            best, best_value = bound, value
            for i in range(m):
                best_diagonal[i] = diagonal[i] * mean / (scale[i] * scale[i])
                best_z[i] = 1.0 - y[i]
                best_slope[i] = slope[i] * mean
                best_delta[i] = weight[i] - x[i] * scale[i]
        if bound >= cut or value - bound <= 1e-9 * abs(value):
            break
        missed = 0.0
        for g in range(count):
            total = float(left[g] - size[g])
            for j in range(m):
                if groups[j] == g:
                    total += y[j]
            off[g] = total
            missed = max(missed, abs(total))
        if missed < 1e-2 and value < cut and value - bound <= enough * (cut - value):
            break
        inverse(lower, own, room)
        if steps == 1:
            for i in range(m):
                for j in range(m):
                    primal[i, j] = mu * room[i, j]
        else:
            held = 0.0
            for i in range(m):
                for j in range(m):
                    held += primal[i, j] * h[i, j]
                held += diagonal[i] * (of_diagonal[i] - primal[i, i])
                held += y[i] * of_kept[i] + (1.0 - y[i]) * of_pruned[i]
            mu = held / (4 * m) * (CENTRING * CENTRING if full else CENTRING)

        # the system, K and C scaled to a unit diagonal
        for i in range(m):
            ai = (1.0 / y[i] - 1.0) * x[i]
            for j in range(i + 1):
                aj = (1.0 / y[j] - 1.0) * x[j]
                matrix[i, j] = 2.0 * ai * aj * inner[i, j] + primal[i, j] * room[i, j]
            matrix[i, i] += of_diagonal[i] / diagonal[i]
            unit[i] = 1.0 / np.sqrt(matrix[i, i])
        for i in range(m):
            for j in range(i + 1):
                matrix[i, j] *= unit[i] * unit[j]
            matrix[i, i] += 1e-13
        if not cholesky(matrix, lower):
            break
        for i in range(m):
            p = 1.0 / y[i] - 1.0
            for j in range(m):
                ej = -diagonal[j] / (y[j] * y[j]) * x[j]
                sides[i, j] = -2.0 * p * x[i] * ej * inner[i, j]
            sides[i, i] -= (x[i] / y[i]) ** 2
            sides[i, m] = x[i] * x[i] * p - mu * room[i, i] + mu / diagonal[i]
            for j in range(m + 1):
                sides[i, j] *= unit[i]
        forward(lower, sides)
        for i in range(m):
            ei = -diagonal[i] / (y[i] * y[i]) * x[i]
            for j in range(i + 1):
                ej = -diagonal[j] / (y[j] * y[j]) * x[j]
                matrix[i, j] = -2.0 * ei * ej * inner[i, j]
            matrix[i, i] += (
                2.0 * x[i] * x[i] * diagonal[i] / y[i] ** 3
                + of_kept[i] / y[i]
                + of_pruned[i] / (1.0 - y[i])
            )
        add_squares(matrix, sides)
        for i in range(m):
            across[i] = 1.0 / np.sqrt(matrix[i, i])
        for i in range(m):
            for j in range(i + 1):
                matrix[i, j] *= across[i] * across[j]
            matrix[i, i] += 1e-13
        if not cholesky(matrix, own):
            break
        for i in range(m):
            gradient = (
                -diagonal[i] * (x[i] / y[i]) ** 2 - mu / y[i] + mu / (1.0 - y[i]) + nu[groups[i]]
            )
            total = 0.0
            for k in range(m):
                total += sides[k, i] * sides[k, m]
            for g in range(count):
                edges[i, g] = 0.0
            edges[i, groups[i]] = across[i]
            edges[i, count] = across[i] * (-gradient - total)
        forward(own, edges)
        for g in range(count):
            for q in range(g + 1):
                total = 0.0
                for k in range(m):
                    total += edges[k, g] * edges[k, q]
                normal[g, q] = total
            total = off[g]
            for k in range(m):
                total += edges[k, g] * edges[k, count]
            wanted[g] = total
        if not cholesky(normal, corner):
            break
        solve(corner, wanted)
        for k in range(m):
            total = edges[k, count]
            for g in range(count):
                total -= edges[k, g] * wanted[g]
            dy[k] = total
        for i in range(m - 1, -1, -1):
            dy[i] /= own[i, i]
            for k in range(i):
                dy[k] -= own[i, k] * dy[i]
        for i in range(m):
            dy[i] *= across[i]
            dz[i], lost[i] = -dy[i], 1.0 - y[i]
        for k in range(m):
            total = sides[k, m]
            for j in range(m):
                total += sides[k, j] * dy[j]
            step[k] = total
        for i in range(m - 1, -1, -1):
            step[i] /= lower[i, i]
            for k in range(i):
                step[k] -= lower[i, k] * step[i]
        for i in range(m):
            step[i] *= unit[i]
        for i in range(m):
            for j in range(m):
                own[i, j] = primal[i, j] * step[j]
        product = np.dot(own, room)
        for i in range(m):
            for j in range(i + 1):
                both = 0.5 * (product[i, j] + product[j, i])
                change[i, j] = mu * room[i, j] - primal[i, j] + both
                matrix[i, j] = 0.0
            matrix[i, i] = step[i]
            d_diagonal[i] = mu / diagonal[i] - of_diagonal[i] * (1.0 + step[i] / diagonal[i])
            d_kept[i] = mu / y[i] - of_kept[i] * (1.0 + dy[i] / y[i])
            d_pruned[i] = mu / lost[i] - of_pruned[i] * (1.0 + dz[i] / lost[i])

        share = short_of(y, dy, short_of(lost, dz, short_of(diagonal, step, 1.0)))
        for i in range(m):
            for j in range(i + 1):
                inner[i, j] = h[i, j]
            inner[i, i] -= diagonal[i]
        share = reach(inner, matrix, -1.0, share, own, lower)
        dual = short_of(of_diagonal, d_diagonal, 1.0)
        dual = short_of(of_pruned, d_pruned, short_of(of_kept, d_kept, dual))
        dual = reach(primal, change, 1.0, dual, own, lower)
        if not share > 1e-8:
            break
        for g in range(count):
            nu[g] += share * wanted[g]
        for i in range(m):
            diagonal[i] += share * step[i]
            y[i] += share * dy[i]
            of_diagonal[i] += dual * d_diagonal[i]
            of_kept[i] += dual * d_kept[i]
            of_pruned[i] += dual * d_pruned[i]
            for j in range(i + 1):
                primal[i, j] += dual * change[i, j]
                primal[j, i] = primal[i, j]
        full = share >= 1.0 and dual >= 1.0
    return (
        best * mean,
        best_value * mean,
        best_diagonal,
        best_z,
        best_slope,
        best_delta,
        mu * mean,
        steps,
    )


def warm_up() -> None:
    """Compile the kernels, or load them."""
    h, w = np.eye(3) + 0.1, np.array([1.0, -2.0, 3.0])
    half = np.full(3, 0.5)
    saddle(
        h,
        w,
        np.zeros(3, np.int64),
        np.ones(1, np.int64),
        np.inf,
        half,
        half,
        0.0,
        0.0,
        np.ones(1, np.int64),
    )

"""Compiled kernels of the branch and bound: one node, and a slice of a depth-first search.

Node problem. With F(x) = x^T P x + q^T x convex and equal to the loss on legal masks (see
`solvers.bounds.convexify`), minimise F over the hull of the legal masks that respect the node's
forced columns, a product of hypersimplices. Its edges are the directions e_i - e_j within a group,
so a step of the decomposition-invariant pairwise Frank-Wolfe method (Garber, Meshi, NeurIPS 2016)
on this set moves weight from one column to another: i has the least gradient among columns below 1,
j of the same group is the one above 0 that pays most, and the step length is exact,

    gamma = min( (g_j - g_i) / (2 (P_ii + P_jj - 2 P_ij)), 1 - x_i, x_j ),   g = 2 P x + q.

Bound. Any x gives  b = F(x) - g . x + min over the node's masks of g . v;  the minimum is a sort.
x is rounded to float32 before b is taken, so that what is stored in a proof is what was bounded.

Fixing. With g_(k) and g_(k+1) the k-th and next smallest gradient among the m free columns of a
group that has k still to prune, 0 < k < m, every mask with column j pruned has a loss of at least
b + max(0, g_j - g_(k)), and with j kept at least b + max(0, g_(k+1) - g_j). A side whose bound
reaches the incumbent is cut off; it is a leaf of its own with the same x.

A node costs about 4 n operations a step, and 2 n^2 for its gradient.

The tree is a table: `column` (split, or -1), `kept` and `pruned` (children), `point` (of a leaf:
the index of its x, or -1 where at most one mask is left).
"""

import numba
import numpy as np

CHECK_EVERY = 16
STEPS = 2000
CLOSE_SHARE = 0.1
"""A node is left when its gap is this share of its distance to the incumbent."""

_jit = numba.njit(cache=True, nogil=True, fastmath={"contract", "reassoc", "nsz", "arcp"})
_strict = numba.njit(cache=True, nogil=True)


@_jit
def shift_gradient(matrix, gradient, column, by):  # type: ignore[no-untyped-def]
    """The gradient after x[column] has changed."""
    for t in range(len(gradient)):
        gradient[t] += 2.0 * by * matrix[column, t]


@_jit
def gradient_of(matrix, linear, x, gradient):  # type: ignore[no-untyped-def]
    """Gradient g = 2 P x + q from scratch."""
    gradient[:] = linear
    for i in range(len(x)):
        if x[i] != 0.0:
            twice = 2.0 * x[i]
            for t in range(len(x)):
                gradient[t] += twice * matrix[i, t]


@_strict
def value_and_bound(linear, size, budget, state, x, gradient, lowest):  # type: ignore[no-untyped-def]
    """(F(x), bound) of a node; `lowest` (n,) receives the sorted free gradients of each group."""
    value = 0.0
    along = 0.0
    for t in range(len(x)):
        value += 0.5 * (gradient[t] + linear[t]) * x[t]
        along += gradient[t] * x[t]
    least = 0.0
    for group in range(0, len(x), size):
        free = 0
        left = budget
        for t in range(group, group + size):
            if state[t] == 0:
                lowest[group + free] = gradient[t]
                free += 1
            elif state[t] == 1:
                left -= 1
                least += gradient[t]
        part = lowest[group : group + free]
        part.sort()
        for t in range(left):
            least += part[t]
    return value, value - along + least


@_strict
def minimise(matrix, linear, size, budget, state, x, gradient, cut, lowest):  # type: ignore[no-untyped-def]
    """Pairwise steps until the node can be closed or branched; returns the number of steps."""
    n = len(x)
    steps = 0
    while True:
        value, bound = value_and_bound(linear, size, budget, state, x, gradient, lowest)
        gap = value - bound
        if bound >= cut or steps >= STEPS or gap <= 1e-9 * abs(value):
            return steps
        if value < cut and gap <= CLOSE_SHARE * (cut - value):
            return steps
        for _ in range(CHECK_EVERY):
            i = -1
            widest = 0.0
            for group in range(0, n, size):
                low, high, at = np.inf, -np.inf, -1
                for t in range(group, group + size):
                    if state[t] == 0:
                        if x[t] < 1.0 and gradient[t] < low:
                            low, at = gradient[t], t
                        if x[t] > 0.0 and gradient[t] > high:
                            high = gradient[t]
                if at >= 0 and high - low > widest:
                    widest, i = high - low, at
            if i < 0:
                break
            j, gain, length = -1, 0.0, 0.0
            first = i - i % size
            for t in range(first, first + size):
                if state[t] == 0 and x[t] > 0.0 and gradient[t] > gradient[i]:
                    slope = gradient[t] - gradient[i]
                    curve = 2.0 * (matrix[i, i] + matrix[t, t] - 2.0 * matrix[i, t]) + 1e-12
                    step = min(slope / curve, 1.0 - x[i], x[t])
                    progress = step * (slope - 0.5 * curve * step)
                    if progress > gain:
                        j, gain, length = t, progress, step
            if j < 0:
                break
            full, empty = length >= 1.0 - x[i], length >= x[j]
            x[i] = 1.0 if full else x[i] + length
            x[j] = 0.0 if empty else x[j] - length
            shift_gradient(matrix, gradient, i, length)
            shift_gradient(matrix, gradient, j, -length)
            steps += 1


@_strict
def restore(matrix, size, budget, state, x, gradient):  # type: ignore[no-untyped-def]
    """Bring a parent's x onto a child's hull, cheapest columns first; False when it is empty."""
    n = len(x)
    for t in range(n):
        wanted = x[t]
        if state[t] == 1:
            wanted = 1.0
        elif state[t] == 2:
            wanted = 0.0
        if wanted != x[t]:
            shift_gradient(matrix, gradient, t, wanted - x[t])
            x[t] = wanted
    for group in range(0, n, size):
        need = float(budget)
        for t in range(group, group + size):
            need -= x[t]
        while abs(need) > 1e-12:
            at = -1
            for t in range(group, group + size):
                if state[t] == 0:
                    if need > 0.0 and x[t] < 1.0 and (at < 0 or gradient[t] < gradient[at]):
                        at = t
                    if need < 0.0 and x[t] > 0.0 and (at < 0 or gradient[t] > gradient[at]):
                        at = t
            if at < 0:
                return False
            by = min(need, 1.0 - x[at]) if need > 0.0 else max(need, -x[at])
            by_all = by == 1.0 - x[at]
            x[at] = 1.0 if by_all else max(0.0, x[at] + by)
            shift_gradient(matrix, gradient, at, by)
            need -= by
    return True


@_strict
def loss_of(quad, z):  # type: ignore[no-untyped-def]
    """z^T Q z."""
    total = 0.0
    for i in range(len(z)):
        if z[i] > 0.0:
            for t in range(len(z)):
                total += quad[i, t] * z[t]
    return total


@_strict
def descend(quad, size, z):  # type: ignore[no-untyped-def]
    """1-swap descent of a legal z in place; returns its loss."""
    n = len(z)
    c = np.zeros(n)
    for i in range(n):
        if z[i] > 0.0:
            for t in range(n):
                c[t] += quad[i, t]
    scale = 0.0
    for i in range(n):
        scale += quad[i, i] * z[i]
    while True:
        best, p, u = -1e-12 * scale, -1, -1
        for i in range(n):
            if z[i] > 0.0:
                a = quad[i, i] - 2.0 * c[i]
                first = i - i % size
                for t in range(first, first + size):
                    if z[t] == 0.0:
                        change = a + 2.0 * c[t] + quad[t, t] - 2.0 * quad[i, t]
                        if change < best:
                            best, p, u = change, i, t
        if p < 0:
            return loss_of(quad, z)
        z[p], z[u] = 0.0, 1.0
        for t in range(n):
            c[t] += quad[u, t] - quad[p, t]


@_strict
def round_to_legal(size, budget, x, z):  # type: ignore[no-untyped-def]
    """Prune the columns of largest x in each group; ties to the lower column."""
    for group in range(0, len(x), size):
        order = np.argsort(-x[group : group + size], kind="mergesort")
        for t in range(size):
            z[group + order[t]] = 1.0 if t < budget else 0.0


@_strict
def is_settled(size, budget, state):  # type: ignore[no-untyped-def]
    """0: several masks left; 1: one; -1: none. Implied columns are written into `state`."""
    settled = 1
    for group in range(0, len(state), size):
        left, free = budget, 0
        for t in range(group, group + size):
            if state[t] == 1:
                left -= 1
            elif state[t] == 0:
                free += 1
        if left < 0 or left > free:
            return -1
        if 0 < left < free:
            settled = 0
        else:
            for t in range(group, group + size):
                if state[t] == 0:
                    state[t] = 1 if left > 0 else 2
    return settled


@_strict
def search(  # type: ignore[no-untyped-def]
    matrix, linear, quad, size, budget, gap, stack_state, stack_x, stack_bound, stack_node, top,
    best, loss, least_leaf, column, kept, pruned, point, points, used, recording, most_nodes,
):  # fmt: skip
    """Depth-first search for at most `most_nodes` nodes, or until a table is nearly full.

    The stack holds the open nodes: state (0 free, 1 pruned, 2 kept), x, bound, number in the tree.
    best (n,): the incumbent z, improved in place. used: [rows of the tree, points] filled so far.
    Returns (top, loss, least bound of a closed leaf, nodes, steps, whether it stopped for space).
    """
    n = len(linear)
    state = np.empty(n, np.int8)
    x, gradient, lowest, z = np.empty(n), np.empty(n), np.empty(n), np.empty(n)
    nodes = steps = 0
    while top > 0 and nodes < most_nodes:
        if recording and (used[0] + 3 * n + 8 > len(column) or used[1] + 1 > len(points)):
            return top, loss, least_leaf, nodes, steps, True
        top -= 1
        cut = loss * (1.0 - gap)
        node = stack_node[top]
        if stack_bound[top] >= cut:  # the incumbent has improved since; its parent's x closes it
            least_leaf = min(least_leaf, stack_bound[top])
            continue
        nodes += 1
        state[:] = stack_state[top]
        x[:] = stack_x[top]
        inherited = stack_bound[top]
        gradient_of(matrix, linear, x, gradient)
        steps += minimise(matrix, linear, size, budget, state, x, gradient, cut, lowest)
        for t in range(n):
            x[t] = np.float64(np.float32(x[t]))
        gradient_of(matrix, linear, x, gradient)
        _, bound = value_and_bound(linear, size, budget, state, x, gradient, lowest)
        here = -1
        if recording and bound >= inherited:
            here = used[1]
            used[1] += 1
            for t in range(n):
                points[here, t] = x[t]
            point[node] = here
        elif recording:
            here = point[node]  # its parent's x bounds it better
        fixable = bound >= inherited
        bound = max(bound, inherited)

        round_to_legal(size, budget, x, z)
        value = loss_of(quad, z)
        if value < loss * 1.05:
            value = descend(quad, size, z)
        if value < loss:
            loss = value
            best[:] = z
            cut = loss * (1.0 - gap)
        if bound >= cut:
            least_leaf = min(least_leaf, bound)
            continue

        if fixable:
            for group in range(0, n, size):
                left, free = budget, 0
                for t in range(group, group + size):
                    if state[t] == 1:
                        left -= 1
                    elif state[t] == 0:
                        free += 1
                if not 0 < left < free:
                    continue
                at_k, after_k = lowest[group + left - 1], lowest[group + left]
                for t in range(group, group + size):
                    if state[t] != 0:
                        continue
                    if_pruned = bound + max(0.0, gradient[t] - at_k)
                    if_kept = bound + max(0.0, after_k - gradient[t])
                    if if_pruned < cut and if_kept < cut:
                        continue
                    cut_pruned = if_pruned >= cut
                    state[t] = 2 if cut_pruned else 1
                    least_leaf = min(least_leaf, if_pruned if cut_pruned else if_kept)
                    if recording:
                        leaf, rest = used[0], used[0] + 1
                        used[0] += 2
                        column[node] = t
                        pruned[node], kept[node] = (leaf, rest) if cut_pruned else (rest, leaf)
                        point[leaf] = point[rest] = here
                        node = rest
        settled = is_settled(size, budget, state)
        if settled != 0:
            if settled == 1:
                for t in range(n):
                    z[t] = 1.0 if state[t] == 1 else 0.0
                value = loss_of(quad, z)
                least_leaf = min(least_leaf, value)
                if value < loss:
                    loss = value
                    best[:] = z
            if recording:
                point[node] = -1
            continue

        j, score = -1, -1.0
        for t in range(n):
            if state[t] == 0:
                worth = (min(x[t], 1.0 - x[t]) + 1e-9) * matrix[t, t]
                if worth > score:
                    j, score = t, worth
        down, up = -1, -1
        if recording:
            down, up = used[0], used[0] + 1
            used[0] += 2
            column[node], kept[node], pruned[node] = j, down, up
            point[down] = point[up] = here
        first = 1 if x[j] >= 0.5 else 2
        for value_of_j in (3 - first, first):  # the side explored first is pushed last
            child_state, child_x = stack_state[top], stack_x[top]
            child_state[:] = state
            child_state[j] = value_of_j
            child_x[:] = x
            if is_settled(size, budget, child_state) < 0:
                if recording:
                    point[up if value_of_j == 1 else down] = -1
                continue
            z[:] = gradient
            if not restore(matrix, size, budget, child_state, child_x, z):
                continue
            stack_bound[top] = bound
            stack_node[top] = up if value_of_j == 1 else down
            top += 1
    return top, loss, least_leaf, nodes, steps, False


@_strict
def preorder(column, kept, pruned, point, used):  # type: ignore[no-untyped-def]
    """The tree from its root as (branch, point of each leaf), kept side first."""
    branch = np.empty(used, np.int32)
    leaf = np.empty(used, np.int32)
    stack = np.empty(used + 1, np.int32)
    stack[0] = 0
    top, nodes, leaves = 1, 0, 0
    while top > 0:
        top -= 1
        node = stack[top]
        branch[nodes] = column[node]
        nodes += 1
        if column[node] < 0:
            leaf[leaves] = point[node]
            leaves += 1
        else:
            stack[top] = pruned[node]
            stack[top + 1] = kept[node]
            top += 2
    return branch[:nodes].copy(), leaf[:leaves].copy()

"""A slice of the depth-first search, compiled, and the tree that it leaves.

A node is minimised and bounded by `frank_wolfe.node`. x is rounded to float32 before its bound is
taken, so that what is stored in a proof is what was bounded.

Fixing. With g_(k) and g_(k+1) the k-th and next smallest gradient among the m free columns of a
group that has k still to prune, 0 < k < m, every mask with column j pruned has a loss of at least
b + max(0, g_j - g_(k)), and with j kept at least b + max(0, g_(k+1) - g_j). A side whose bound
reaches the incumbent is cut off; it is a leaf of its own with the same x.

The tree is a table: `column` (split, or -1), `kept` and `pruned` (children), `point` (of a leaf:
the index of its x, or -1 where at most one mask is left).
"""

import numpy as np

from solvers.frank_wolfe.masks import descend, loss_of, round_to_legal
from solvers.frank_wolfe.node import (
    gradient_of,
    is_settled,
    minimise,
    restore,
    still_open,
    strict,
    value_and_bound,
)


@strict
def search(  # type: ignore[no-untyped-def]
    matrix, linear, quad, size, budget, gap, stack_state, stack_x, stack_bound, stack_node, top,
    best, loss, least_leaf, column, kept, pruned, point, points, used, recording, most_nodes,
):  # fmt: skip
    """Depth-first search for at most `most_nodes` nodes, or until a table is nearly full.

    The stack holds the open nodes: state (0 free, 1 pruned, 2 kept), x, bound, number in the tree.
    best (n,): the incumbent z, improved in place. used: [rows of the tree, points] filled so far.
    Returns (top, loss, least bound of a closed leaf, nodes, steps).
    """
    n = len(linear)
    state = np.empty(n, np.int8)
    x, gradient, lowest, z = np.empty(n), np.empty(n), np.empty(n), np.empty(n)
    nodes = steps = 0
    while top > 0 and nodes < most_nodes:
        if recording and (used[0] + 3 * n + 8 > len(column) or used[1] + 1 > len(points)):
            break
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
                left, free = still_open(budget, state, group, group + size)
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
    return top, loss, least_leaf, nodes, steps


@strict
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

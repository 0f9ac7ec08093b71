"""A slice of the search of one worker: nodes taken from its frontier, bounded, fixed and split.

x is rounded to float32 before its bound is taken, so that what is stored in a proof is what was
bounded. With several functions a node is minimised with the one its parent was bounded by; one in
TRY_EVERY is minimised with another too, and its subtree goes on with the better.

Fixing. With g_(k) and g_(k+1) the k-th and next smallest gradient among the m free columns of a
group that has k still to prune, 0 < k < m, every mask with column j pruned has a loss of at least
b + max(0, g_j - g_(k)), and with j kept at least b + max(0, g_(k+1) - g_j). A side whose bound
reaches the incumbent is cut off; it is a leaf of its own with the same x.
"""

import numpy as np

from maskgap.instances.masks.state import FREE, KEPT, PRUNED
from maskgap.solvers.frank_wolfe.active_set import minimise_on_vertices
from maskgap.solvers.frank_wolfe.edges import minimise_along_edges
from maskgap.solvers.frank_wolfe.node import STEPS, gradient_of, restore, value_of
from maskgap.solvers.kernels.jit import strict
from maskgap.solvers.oracles.equal_groups import is_settled, least_along, still_open, vertex_along
from maskgap.solvers.tree.choices import TRY_EVERY
from maskgap.solvers.tree.compiled.branching import choose, learn
from maskgap.solvers.tree.compiled.frontier import OPEN, ROOM, put, take, take_slot
from maskgap.solvers.tree.compiled.record import POINT, POINT_END, ROW, ROW_END
from maskgap.solvers.tree.compiled.rounding import descend, loss_of, round_to_legal
from maskgap.solvers.tree.compiled.rules import BEST_FIRST, DEPTH_FIRST

PROMISING = 1.05
"""A mask whose loss is this many times the incumbent's is improved by swaps."""


ALWAYS, SOMETIMES = 16, 8
"""x is rounded at the first nodes of a slice, then at one in so many: a dive moves it little."""


@strict
def improve(quad, size, budget, z, best, loss, seen):  # type: ignore[no-untyped-def]
    """The incumbent's loss after a legal z, improved in place when promising, was looked at.

    seen: losses lately met, oldest first: a dive rounds to the same few masks again and again.
    """
    value = loss_of(quad, z)
    if value >= loss * PROMISING or np.any(seen == value):
        return loss
    seen[:-1] = seen[1:]
    seen[-1] = value
    value = descend(quad, size, budget, z)
    if value < loss:
        best[:] = z
        return value
    return loss


@strict
def descend_edges(functions, k, rules, state, x, gradient, goal):  # type: ignore[no-untyped-def]
    """Minimise function k along edges from an x on the node's hull; see `node`."""
    matrix, linear = functions.matrix[k], functions.linear[k]
    value = value_of(linear, functions.constant[k], x, gradient)
    return minimise_along_edges(
        matrix, rules.size, rules.budget, state, x, gradient, value, goal, rules.node_tolerance,
        STEPS,
    )  # fmt: skip


@strict
def bound_at(functions, k, rules, state, x, gradient, lowest):  # type: ignore[no-untyped-def]
    """The node's bound by function k at x, which is rounded to float32 first, in place."""
    for t in range(len(x)):
        x[t] = np.float64(np.float32(x[t]))
    gradient_of(functions.matrix[k], functions.linear[k], x, gradient)
    least = least_along(rules.size, rules.budget, state, gradient, lowest)
    value = value_of(functions.linear[k], functions.constant[k], x, gradient)
    return value - np.dot(gradient, x) + least


@strict
def add_leaf(table, block, node, column, cut_pruned, here, k):  # type: ignore[no-untyped-def]
    """Split a node on a column of which one side is closed by its x; returns the other side."""
    leaf, rest = block[ROW], block[ROW] + 1
    block[ROW] += 2
    table.column[node] = column
    table.pruned[node], table.kept[node] = (leaf, rest) if cut_pruned else (rest, leaf)
    table.point[leaf] = table.point[rest] = here
    table.source[leaf] = table.source[rest] = k
    return rest


@strict
def open_node(  # type: ignore[no-untyped-def]
    frontier, rules, state, x, bound, node, via, share, k, raised, store
):
    """Put a node on the frontier; see `Frontier`."""
    slot = take_slot(frontier)
    frontier.state[slot], frontier.x[slot] = state, x.astype(np.float32)
    frontier.bound[slot], frontier.node[slot] = bound, node
    frontier.via[slot], frontier.share[slot], frontier.function[slot] = via, share, k
    frontier.raised[slot] = raised
    if store is not None:
        stored = store.counts[1]
        frontier.atoms[slot, :stored] = store.atoms[:stored].astype(np.int8)
        frontier.weights[slot, :stored] = store.weights[:stored]
        frontier.atom_count[slot] = store.counts
    put(frontier, slot, rules.traversal != DEPTH_FIRST)


@strict
def search(  # type: ignore[no-untyped-def]
    functions, quad, rules, frontier, table, block, pseudo, best, loss, most_nodes, store, aside
):
    """Search at most `most_nodes` nodes, or until the frontier or the record is nearly full.

    best (n,): the incumbent z, improved in place; loss: its loss. pseudo: see `branching.learn`.
    store: a `Store` to work in, None for steps along edges; aside: (n,) to work in for strong
    branching, else None. What is None has no branch in the code that is compiled.
    Returns (loss, least bound of a closed leaf, nodes, steps, oracle calls).
    """
    n = len(best)
    size, budget = rules.size, rules.budget
    state = np.empty(n, np.int8)
    x, gradient, lowest, z = np.empty(n), np.empty(n), np.empty(n), np.empty(n)
    y, other, seen = np.empty(n), np.empty(n), np.zeros(16)
    least_leaf, cut = np.inf, loss * (1.0 - rules.gap)
    nodes = steps = calls = 0
    carried = raised = False
    node, via, k, share, bound = -1, 0, 0, 0.0, -np.inf
    while nodes < most_nodes:
        if frontier.counts[ROOM] < 2:
            break
        if rules.recording and (
            block[ROW] + 2 * n + 4 > block[ROW_END] or block[POINT] >= block[POINT_END]
        ):
            break
        if not carried:
            if frontier.counts[OPEN] == 0:
                break
            slot = take(frontier)
            bound, node = float(frontier.bound[slot]), int(frontier.node[slot])
            if bound >= cut:  # the incumbent has improved since; its parent's x closes it
                least_leaf = min(least_leaf, bound)
                continue
            via, share = int(frontier.via[slot]), float(frontier.share[slot])
            k, raised = int(frontier.function[slot]), bool(frontier.raised[slot])
            state[:] = frontier.state[slot]
            x[:] = frontier.x[slot]
            if store is not None:
                store.counts[:] = frontier.atom_count[slot]
                held = store.counts[1]
                store.atoms[:held] = frontier.atoms[slot, :held]
                store.weights[:held] = frontier.weights[slot, :held]
            gradient_of(functions.matrix[k], functions.linear[k], x, gradient)
        carried = False
        nodes += 1
        inherited = bound
        goal = cut
        if rules.stride < np.inf and inherited > -np.inf:
            goal = min(cut, inherited + rules.stride)
        matrix, linear = functions.matrix[k], functions.linear[k]
        restore(matrix, size, budget, state, x, gradient)
        if store is None:
            made, asked = descend_edges(functions, k, rules, state, x, gradient, goal)
        else:
            if not rules.inherit:
                store.counts[:] = 0
            made, asked = minimise_on_vertices(
                matrix, linear, functions.constant[k], rules, state, x, gradient, goal,
                store.atoms, store.weights, store.counts,
            )  # fmt: skip
        steps, calls = steps + made, calls + asked + 1
        bound = bound_at(functions, k, rules, state, x, gradient, lowest)
        if inherited > -np.inf and not raised:  # the root has no parent to rise from
            learn(rules, pseudo, via, share, bound - inherited)
        if len(functions.constant) > 1 and bound < goal and nodes % TRY_EVERY == 0:
            f = (k + 1) % len(functions.constant)
            y[:] = x
            gradient_of(functions.matrix[f], functions.linear[f], y, other)
            made, asked = descend_edges(functions, f, rules, state, y, other, goal)
            steps, calls = steps + made, calls + asked + 1
            trial = bound_at(functions, f, rules, state, y, other, lowest)
            if trial > bound:
                bound, k = trial, f
                x[:], gradient[:] = y, other
            else:
                least_along(size, budget, state, gradient, lowest)
        fixable = bound >= inherited
        here = -1
        if rules.recording and fixable:
            if raised:
                here = int(table.point[node])
            else:
                here = int(block[POINT])
                block[POINT] += 1
            table.points[here] = x.astype(np.float32)
            table.point[node], table.source[node] = here, k
        elif rules.recording:
            here = int(table.point[node])  # its parent's x bounds it better
        source = int(table.source[node]) if rules.recording else k
        bound = max(bound, inherited)

        if rules.vertices:
            vertex_along(size, budget, state, gradient, z)
            loss = improve(quad, size, budget, z, best, loss, seen)
        if rules.rounding and (nodes <= ALWAYS or nodes % SOMETIMES == 0):
            round_to_legal(size, budget, x, z)
            loss = improve(quad, size, budget, z, best, loss, seen)
        cut = loss * (1.0 - rules.gap)
        if bound >= cut:
            least_leaf = min(least_leaf, bound)
            continue

        before = node
        if rules.fixing and fixable:
            for group in range(0, n, size):
                left, free = still_open(budget, state, group, group + size)
                if not 0 < left < free:
                    continue
                at_k, after_k = lowest[group + left - 1], lowest[group + left]
                for t in range(group, group + size):
                    if state[t] != FREE:
                        continue
                    if_pruned = bound + max(0.0, gradient[t] - at_k)
                    if_kept = bound + max(0.0, after_k - gradient[t])
                    if if_pruned < cut and if_kept < cut:
                        continue
                    cut_pruned = if_pruned >= cut
                    state[t] = KEPT if cut_pruned else PRUNED
                    least_leaf = min(least_leaf, if_pruned if cut_pruned else if_kept)
                    if rules.recording:
                        node = add_leaf(table, block, node, t, cut_pruned, here, source)
        settled = is_settled(size, budget, state)
        if settled != 0:
            if settled == 1:
                for t in range(n):
                    z[t] = 1.0 if state[t] == PRUNED else 0.0
                least_leaf = min(least_leaf, loss_of(quad, z))
                loss = improve(quad, size, budget, z, best, loss, seen)
                cut = loss * (1.0 - rules.gap)
            if rules.recording:
                table.point[node] = -1
            continue

        if bound >= goal:  # it waits until it is the least again
            alone = node == before
            open_node(frontier, rules, state, x, bound, node, via, share, k, alone, store)
            continue
        raised = False

        j = choose(functions, k, rules, state, x, gradient, bound, cut, pseudo, aside)
        kept, pruned = -1, -1
        if rules.recording:
            kept, pruned = block[ROW], block[ROW] + 1
            block[ROW] += 2
            table.column[node], table.kept[node], table.pruned[node] = j, kept, pruned
            table.point[kept] = table.point[pruned] = here
            table.source[kept] = table.source[pruned] = source
        first = PRUNED if x[j] >= 0.5 else KEPT
        share = x[j]
        second = KEPT if first == PRUNED else PRUNED
        for side in (second, first):  # the side explored first comes last
            state[j] = side
            via = j if side == PRUNED else -1 - j
            node = pruned if side == PRUNED else kept
            if side != first or rules.traversal == BEST_FIRST:
                open_node(frontier, rules, state, x, bound, node, via, share, k, False, store)
            else:
                carried = True
    if carried:
        open_node(frontier, rules, state, x, bound, node, via, share, k, False, store)
    return loss, least_leaf, nodes, steps, calls

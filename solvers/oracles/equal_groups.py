"""Compiled kernels on the masks of a node, for equal groups of columns with a budget each.

A column's state is FREE, PRUNED or KEPT (`instances.masks.state`). In a group with k columns to
prune, of which f are forced to be, a node has a mask exactly when 0 <= k - f <= free columns; the
minimum of g . v over its masks takes the k - f smallest g of the free ones.
"""

import numpy as np

from maskgap.instances.masks.state import FREE, KEPT, PRUNED
from maskgap.solvers.kernels.jit import strict


@strict
def still_open(budget, state, first, last):  # type: ignore[no-untyped-def]
    """(columns still to prune, free columns) of the group of columns first to last - 1."""
    left, free = budget, 0
    for t in range(first, last):
        if state[t] == PRUNED:
            left -= 1
        elif state[t] == FREE:
            free += 1
    return left, free


@strict
def least_along(size, budget, state, gradient, lowest):  # type: ignore[no-untyped-def]
    """Minimum of g . v over the node's masks; `lowest` gets each group's free gradients sorted."""
    least = 0.0
    for group in range(0, len(gradient), size):
        free = 0
        left = budget
        for t in range(group, group + size):
            if state[t] == FREE:
                lowest[group + free] = gradient[t]
                free += 1
            elif state[t] == PRUNED:
                left -= 1
                least += gradient[t]
        part = lowest[group : group + free]
        part.sort()
        for t in range(left):
            least += part[t]
    return least


@strict
def vertex_along(size, budget, state, gradient, vertex):  # type: ignore[no-untyped-def]
    """A mask of the node of least g . v in `vertex`, and that value: the closed-form oracle."""
    least = 0.0
    for group in range(0, len(gradient), size):
        left, free = still_open(budget, state, group, group + size)
        keys = np.empty(free)
        at = 0
        for t in range(group, group + size):
            vertex[t] = 1.0 if state[t] == PRUNED else 0.0
            if state[t] == FREE:
                keys[at] = gradient[t]
                at += 1
        last = np.partition(keys, left - 1)[left - 1] if left > 0 else -np.inf
        for t in range(group, group + size):
            if state[t] == FREE and gradient[t] < last:
                vertex[t] = 1.0
                left -= 1
        for t in range(group, group + size):
            if left > 0 and state[t] == FREE and gradient[t] == last:
                vertex[t] = 1.0
                left -= 1
        for t in range(group, group + size):
            least += gradient[t] * vertex[t]
    return least


@strict
def is_settled(size, budget, state):  # type: ignore[no-untyped-def]
    """0: several masks left; 1: one; -1: none. Implied columns are written into `state`."""
    settled = 1
    for group in range(0, len(state), size):
        left, free = still_open(budget, state, group, group + size)
        if left < 0 or left > free:
            return -1
        if 0 < left < free:
            settled = 0
        else:
            for t in range(group, group + size):
                if state[t] == FREE:
                    state[t] = PRUNED if left > 0 else KEPT
    return settled

"""Walk the tree of a proof in preorder: the forced columns of its leaves, block by block.

A tree is malformed when it ends too early or too late, or splits a column that is out of range or
was split already; its leaves partition the legal set otherwise. Nothing here knows a bound.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from maskgap.instances.errors import ProofError
from maskgap.instances.masks.state import FREE, KEPT, PRUNED, States
from maskgap.instances.problem import Part

BLOCK = 1024
"""Leaves evaluated at once."""


def walk(problem: Part, branch: NDArray[np.integer]) -> Iterator[States]:
    """Leaves in preorder as blocks (<= BLOCK, n) of states. Raises ProofError when malformed.

    A split changes its column's state at three places of the list of leaves: at the first leaf of
    its kept side, at the first of its pruned side, and past its last; states are running sums.
    """
    nodes, (first, middle, last) = _splits(problem, branch)
    place = np.concatenate([first, middle, last])
    order = np.argsort(place, kind="stable")
    place, column = place[order], np.tile(branch[nodes], 3)[order]
    steps = np.array([KEPT - FREE, PRUNED - KEPT, FREE - PRUNED], dtype=np.int8)
    change = np.repeat(steps, len(nodes))[order]
    leaves, state = len(nodes) + 1, np.full(problem.n, FREE, dtype=np.int8)
    for start in range(0, leaves, BLOCK):
        stop = min(start + BLOCK, leaves)
        here = slice(*np.searchsorted(place, [start, stop]).tolist())
        states = np.zeros((stop - start, problem.n), dtype=np.int8)  # of changes
        states[0] = state
        np.add.at(states, (place[here] - start, column[here]), change[here])
        reach = 1
        while reach < len(states):  # running sums over twice as many rows each time
            states[reach:] += states[:-reach].copy()
            reach *= 2
        state = states[-1]
        yield states


@dataclass(frozen=True, eq=False)
class Subtrees:
    """Some nodes of a tree.

    first, last: (nodes,) int; a subtree has leaves first to last - 1. states: (nodes, n) int8, what
    the splits above a node force, and nothing else.
    """

    first: NDArray[np.intp]
    last: NDArray[np.intp]
    states: States


def subtrees(problem: Part, branch: NDArray[np.integer], nodes: Sequence[int]) -> Subtrees:
    """The subtrees of nodes of a tree, each at least 0. Raises ProofError when malformed.

    A first child follows its parent, and a second one the last leaf of the first.
    """
    splits, (_, middle, last) = _splits(problem, branch)
    outside = [node for node in nodes if not 0 <= node < len(branch)]
    if outside:
        raise ProofError(f"row {problem.row}: node {outside[0]} is not in the tree")
    leaf_nodes = np.flatnonzero(branch == -1)
    parent = np.full(len(branch), -1, dtype=np.intp)
    parent[splits + 1] = splits
    parent[leaf_nodes[middle - 1] + 1] = splits

    at = np.array(nodes, dtype=np.intp)
    first = np.searchsorted(leaf_nodes, at)
    end = first + 1
    inner = branch[at] != -1
    end[inner] = last[np.searchsorted(splits, at[inner])]
    states = np.full((len(at), problem.n), FREE, dtype=np.int8)
    row = np.arange(len(at))
    while len(at):  # one step up at a time, until all are at the root
        above = parent[at]
        below = above >= 0
        row, at, above = row[below], at[below], above[below]
        states[row, branch[above]] = np.where(at == above + 1, KEPT, PRUNED)
        at = above
    return Subtrees(first, end, states)


def _splits(
    problem: Part, branch: NDArray[np.integer]
) -> tuple[NDArray[np.intp], tuple[NDArray[np.intp], NDArray[np.intp], NDArray[np.intp]]]:
    """Nodes that split, and for each the numbers (first, middle, last) of leaves.

    Its kept side has leaves first to middle - 1, its pruned side middle to last - 1. With level the
    running sum of +1 at a split and -1 at a leaf, a subtree whose level is h before it ends at its
    first node of level h - 1, so a tree at its first node of level -1. Raises ProofError when the
    tree does not end at its last node, or splits a column that is out of range or split already.
    """
    size, n = len(branch), problem.n
    outside = np.flatnonzero((branch < -1) | (branch >= n))
    if len(outside):
        node = int(outside[0])
        raise ProofError(f"row {problem.row}: node {node} splits column {branch[node]}")
    is_leaf = branch == -1
    level = np.cumsum(np.where(is_leaf, -1, 1))
    ends = np.flatnonzero(level < 0)
    if not len(ends):
        raise ProofError(f"row {problem.row}: the tree ends before all its leaves")
    if ends[0] + 1 < size:
        raise ProofError(f"row {problem.row}: node {ends[0] + 1} lies outside the tree")

    nodes, leaf_nodes = np.flatnonzero(~is_leaf), np.flatnonzero(is_leaf)
    key = level[leaf_nodes] * size + leaf_nodes
    order = np.argsort(key)
    key = key[order]
    before = level[nodes] - 1
    first = nodes - np.arange(len(nodes))  # nodes before it that are no splits
    middle = order[np.searchsorted(key, before * size + nodes)] + 1
    last = order[np.searchsorted(key, (before - 1) * size + nodes)] + 1

    by_column = np.argsort(branch[nodes], kind="stable")  # in preorder within a column
    column = branch[nodes][by_column]
    again = (column[1:] == column[:-1]) & (first[by_column][1:] < last[by_column][:-1])
    if again.any():
        node = int(nodes[by_column[1:][again]].min())
        raise ProofError(f"row {problem.row}: node {node} splits column {branch[node]} again")
    return nodes, (first, middle, last)

"""The open nodes of one worker, in flat arrays that compiled code and Python both use.

Slots hold nodes; a binary heap over slots gives the next one. Its key is the node's bound
(best-first) or minus its age (depth-first), so one structure serves every traversal. Both cost
O(log open) to add and to take.
"""

from typing import NamedTuple, Self

import numpy as np
from numpy.typing import NDArray

from maskgap.solvers.kernels.jit import strict

OPEN, ROOM, AGE = 0, 1, 2
"""Entries of `Frontier.counts`."""


class Store(NamedTuple):
    """Vertices that a node is minimised over, for one worker to work in.

    atoms: (room, n), 1.0 pruned. weights: (room,). counts: (2,), active ones, then all stored.
    """

    atoms: NDArray[np.float64]
    weights: NDArray[np.float64]
    counts: NDArray[np.int32]

    @classmethod
    def of(cls, n: int, room: int) -> Self:
        """An empty one with room for so many."""
        return cls(np.zeros((room, n)), np.zeros(room), np.zeros(2, np.int32))


class Frontier(NamedTuple):
    """Open nodes. Per slot: what is known of the node.

    state (`masks.state`), x (its parent's point), bound (inherited), node (its row in
    the record), via and share (column it was split on with its x there; -1 - column for the kept
    side), function (the one that bounded its parent), raised (whether x is its own, and no other
    leaf's: it was bounded before), atoms and weights (active set, then the vertices set aside),
    atom_count (of each kind).
    """

    state: NDArray[np.int8]
    x: NDArray[np.float32]
    bound: NDArray[np.float64]
    node: NDArray[np.int32]
    via: NDArray[np.int32]
    share: NDArray[np.float64]
    function: NDArray[np.int8]
    raised: NDArray[np.bool_]
    atoms: NDArray[np.int8]
    weights: NDArray[np.float64]
    atom_count: NDArray[np.int32]
    key: NDArray[np.float64]
    heap: NDArray[np.int32]
    unused: NDArray[np.int32]
    counts: NDArray[np.int64]


def new_frontier(n: int, atoms: int, capacity: int) -> Frontier:
    """Room for `capacity` open nodes with `atoms` stored vertices each."""
    count = np.zeros(3, np.int64)
    count[ROOM] = capacity
    return Frontier(
        state=np.zeros((capacity, n), np.int8),
        x=np.zeros((capacity, n), np.float32),
        bound=np.zeros(capacity),
        node=np.zeros(capacity, np.int32),
        via=np.zeros(capacity, np.int32),
        share=np.zeros(capacity),
        function=np.zeros(capacity, np.int8),
        raised=np.zeros(capacity, np.bool_),
        atoms=np.zeros((capacity, atoms, n), np.int8),
        weights=np.zeros((capacity, atoms)),
        atom_count=np.zeros((capacity, 2), np.int32),
        key=np.zeros(capacity),
        heap=np.zeros(capacity, np.int32),
        unused=np.arange(capacity, dtype=np.int32)[::-1].copy(),
        counts=count,
    )


def add_root(frontier: Frontier, share: float, function: int) -> None:
    """Open the root, at the centre of the hull."""
    slot = take_slot(frontier)
    frontier.x[slot], frontier.function[slot] = share, function
    frontier.bound[slot] = -np.inf
    put(frontier, slot, True)


def enlarged(frontier: Frontier) -> Frontier:
    """The same nodes with twice the room."""
    capacity = len(frontier.bound)
    grown = new_frontier(frontier.state.shape[1], frontier.atoms.shape[1], 2 * capacity)
    for name, old in frontier._asdict().items():
        if name not in ("unused", "counts"):
            getattr(grown, name)[:capacity] = old
    free = int(frontier.counts[ROOM])
    grown.unused[:capacity] = np.arange(2 * capacity - 1, capacity - 1, -1)
    grown.unused[capacity : capacity + free] = frontier.unused[:free]
    grown.counts[:] = frontier.counts
    grown.counts[ROOM] = capacity + free
    return grown


def bytes_per_node(frontier: Frontier) -> int:
    """Memory of one slot."""
    return sum(a.nbytes for a in frontier) // len(frontier.bound)


@strict
def take_slot(frontier):  # type: ignore[no-untyped-def]
    """An unused slot; the caller has seen that there is one, fills it, and calls `put`."""
    frontier.counts[ROOM] -= 1
    return frontier.unused[frontier.counts[ROOM]]


@strict
def put(frontier, slot, by_bound):  # type: ignore[no-untyped-def]
    """Add a filled slot to the heap."""
    key, heap, count = frontier.key, frontier.heap, frontier.counts
    count[AGE] += 1
    key[slot] = frontier.bound[slot] if by_bound else -float(count[AGE])
    at = count[OPEN]
    count[OPEN] += 1
    while at > 0:
        above = (at - 1) // 2
        if key[heap[above]] <= key[slot]:
            break
        heap[at] = heap[above]
        at = above
    heap[at] = slot


@strict
def take(frontier):  # type: ignore[no-untyped-def]
    """The slot of least key, out of the heap; its contents stay until the slot is taken again."""
    key, heap, count = frontier.key, frontier.heap, frontier.counts
    slot = heap[0]
    count[OPEN] -= 1
    frontier.unused[count[ROOM]] = slot
    count[ROOM] += 1
    last = heap[count[OPEN]]
    at = 0
    while True:
        below = 2 * at + 1
        if below >= count[OPEN]:
            break
        if below + 1 < count[OPEN] and key[heap[below + 1]] < key[heap[below]]:
            below += 1
        if key[last] <= key[heap[below]]:
            break
        heap[at] = heap[below]
        at = below
    heap[at] = last
    return slot


@strict
def least_bound(frontier, by_bound):  # type: ignore[no-untyped-def]
    """Least bound of the open nodes; infinity when there are none."""
    least = np.inf
    if by_bound and frontier.counts[OPEN] > 0:
        return frontier.bound[frontier.heap[0]]
    for t in range(frontier.counts[OPEN]):
        least = min(least, frontier.bound[frontier.heap[t]])
    return least


@strict
def share_out(giver, taker, most, by_bound):  # type: ignore[no-untyped-def]
    """Move every second of the next nodes from one frontier to another, at most `most`."""
    kept = np.empty(most, np.int32)
    moved = 0
    while moved < most and giver.counts[OPEN] > 1 and taker.counts[ROOM] > 0:
        slot = take(giver)
        to = take_slot(taker)
        taker.state[to] = giver.state[slot]
        taker.x[to] = giver.x[slot]
        taker.bound[to] = giver.bound[slot]
        taker.node[to] = giver.node[slot]
        taker.via[to] = giver.via[slot]
        taker.share[to] = giver.share[slot]
        taker.function[to] = giver.function[slot]
        taker.raised[to] = giver.raised[slot]
        taker.atoms[to] = giver.atoms[slot]
        taker.weights[to] = giver.weights[slot]
        taker.atom_count[to] = giver.atom_count[slot]
        put(taker, to, by_bound)
        kept[moved] = take(giver)
        take_slot(giver)  # the slot just freed: its contents stay
        moved += 1
    for t in range(moved):
        put(giver, kept[t], by_bound)
    return moved


def warm_up() -> None:
    """Compile what only searches on several threads call, and not at their start, or load it."""
    share_out(new_frontier(2, 0, 2), new_frontier(2, 0, 2), 1, True)

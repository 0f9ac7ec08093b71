"""Minimise a convex F(x) = x^T P x + q^T x + c over the hull of the vertices that an oracle gives.

For any set of legal masks, seen only through its linear minimisation oracle: blended pairwise
Frank-Wolfe (Tsuji, Tanaka, Pokutta, ICML 2022) with x = sum of w_a v_a over stored vertices. Steps
move weight from the active vertex of largest g . v to the stored one of least, with the exact step
of a quadratic, until no pair of them promises SHARE of the last gap; only then is the oracle asked
again (lazily, Braun, Pokutta, Zink, ICML 2017). All vertices ever met are stored, so that a node of
a search begins with those of its ancestors that it has not cut off, and asks for few more.

The oracle is asked at x rounded to float32, as a proof stores it, and the bound

    b(x) = F(x) - g . x + (the oracle's lower bound on g . v),   g = 2 P x + q,

holds for that very x.
"""

from dataclasses import dataclass
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from maskgap.instances.arrays import Matrix, Vector
from maskgap.instances.masks.rows import KEPT, PRUNED, States
from maskgap.solvers.kernels.jit import strict
from maskgap.solvers.protocol import Deadline

SHARE = 0.25
"""Of the last Frank-Wolfe gap: pairs of stored vertices that promise less are left alone."""

FLAT = 1e-9
"""A gap this small a share of F(x) is rounding."""

STEPS_A_TURN = 256
"""Pairwise steps after which the active weights are corrected: the tail of such steps is long."""

TURNS = 16
"""Turns between two oracle calls, at most."""

NEGLIGIBLE = 1e-12
"""A weight below this leaves the active set."""

MOST_STORED = 2048
"""Most vertices stored; the oldest go first."""


class LinearOracle(Protocol):
    """Minimises linear functions over the legal masks of a node (`oracles.make.Oracle`)."""

    def minimise(self, gradient: Vector, state: States, vertex: Vector) -> float:
        """A lower bound on <gradient, v> over the node, +inf when empty; `vertex` gets v."""
        ...


@dataclass(frozen=True, eq=False)
class Convex:
    """A convex function: matrix P (n, n), linear q (n,), constant c."""

    matrix: Matrix
    linear: Vector
    constant: float

    def at(self, x: Vector) -> tuple[float, Vector]:
        """F(x) and its gradient 2 P x + q."""
        gradient: Vector = 2.0 * (self.matrix @ x) + self.linear
        return 0.5 * float((gradient + self.linear) @ x) + self.constant, gradient


class Pool:
    """Vertices met so far, each once and numbered as they came; the oldest are given up."""

    def __init__(self, n: int) -> None:
        self._rows = np.zeros((64, n))
        self._count = 0
        self._gone = 0  # number of the first that is still there
        self._number: dict[bytes, int] = {}

    def add(self, vertex: Vector) -> tuple[int, bool]:
        """Store a vertex: its number, and whether it is new."""
        key = vertex.tobytes()
        known = self._number.get(key)
        if known is not None:
            return known, False
        if self._count == MOST_STORED:
            self._forget(MOST_STORED // 4)
        if self._count == len(self._rows):
            self._rows = np.concatenate([self._rows, np.zeros_like(self._rows)])
        self._rows[self._count] = vertex
        self._number[key] = self._gone + self._count
        self._count += 1
        return self._gone + self._count - 1, True

    def _forget(self, many: int) -> None:
        for row in self._rows[:many]:
            del self._number[row.tobytes()]
        self._rows[: self._count - many] = self._rows[many : self._count]
        self._count, self._gone = self._count - many, self._gone + many

    def fitting(self, state: States) -> tuple[Matrix, NDArray[np.int64]]:
        """Those that respect the forced columns of a node, and their numbers, increasing."""
        held = self._rows[: self._count]
        missed = (held[:, state == PRUNED] < 1.0).any(axis=1)
        missed |= (held[:, state == KEPT] > 0.0).any(axis=1)
        chosen = np.flatnonzero(~missed)
        return held[chosen], chosen + self._gone


@dataclass(frozen=True, eq=False)
class ActiveSet:
    """Vertices by their numbers in a pool (a,) int64, and positive weights (a,) that sum to 1."""

    numbers: NDArray[np.int64]
    weights: Vector

    @staticmethod
    def empty() -> "ActiveSet":
        """No vertices."""
        return ActiveSet(np.zeros(0, dtype=np.int64), np.zeros(0))

    def on(self, numbers: NDArray[np.int64]) -> Vector:
        """Weights of the vertices so numbered (increasing), scaled to sum 1; at first one of 1."""
        weight = np.zeros(len(numbers))
        if len(numbers):
            place = np.minimum(np.searchsorted(numbers, self.numbers), len(numbers) - 1)
            there = numbers[place] == self.numbers
            weight[place[there]] = self.weights[there]
            if weight.sum() < NEGLIGIBLE:
                weight[:] = 0.0
                weight[-1] = 1.0
            weight /= weight.sum()
        return weight


@dataclass(frozen=True, eq=False)
class Minimum:
    """What a minimisation ended with.

    x: (n,) float64, each entry a float32 number, of the best bound. bound: b(x), +inf for a node
    without masks. value: F at the last point. active: its vertices. met: vertices that the
    oracle gave and that were new to the pool, in order. steps, calls: made.
    """

    x: Vector
    bound: float
    value: float
    active: ActiveSet
    met: list[Vector]
    steps: int
    calls: int


def minimise(
    function: Convex,
    state: States,
    oracle: LinearOracle,
    pool: Pool,
    active: ActiveSet,
    cut: float,
    tolerance: float,
    deadline: Deadline,
    most_calls: int = 1000,
) -> Minimum:
    """Steps until the bound reaches `cut`, or the gap is a share `tolerance` of cut - F(x).

    active: vertices to start from, of which those that fit `state` are used. pool: receives new
    ones. Where the deadline comes first, what has been found is returned.
    """
    n = len(function.linear)
    met: list[Vector] = []
    vertex, steps, calls = np.empty(n), 0, 0
    best_x, best_bound = np.zeros(n), -np.inf

    def ask(gradient: Vector) -> tuple[float, int, bool]:
        least = oracle.minimise(gradient, state, vertex)
        number, new = pool.add(vertex) if least < np.inf else (-1, False)
        if new:
            met.append(vertex.copy())
        return least, number, new

    stored, numbers = pool.fitting(state)
    if not len(stored):
        calls += 1
        least, number, _ = ask(function.linear)
        if least == np.inf:
            return Minimum(best_x, np.inf, np.inf, active, met, 0, calls)
        stored, numbers = vertex[None, :].copy(), np.array([number])
    weight = active.on(numbers)
    promised, before = -1.0, np.inf
    while True:
        steps += _settle(function, stored, weight, promised)
        x = (weight @ stored).astype(np.float32).astype(np.float64)
        value, gradient = function.at(x)
        calls += 1
        least, number, new = ask(gradient)
        bound = value - float(gradient @ x) + least
        if bound > best_bound:
            best_x, best_bound = x, bound
        gap = value - bound
        known = not new and bool((numbers == number).any())
        if (
            best_bound >= cut
            or gap <= FLAT * abs(value)
            or (tolerance > 0.0 and gap <= tolerance * (cut - value))
            or (known and gap >= before)  # all there is to gain is lost in rounding
            or calls >= most_calls
            or deadline.expired()
        ):
            break
        before = gap
        if not known:
            stored = np.concatenate([stored, vertex[None, :]])
            numbers, weight = np.append(numbers, number), np.append(weight, 0.0)
        promised = SHARE * gap
    used = np.flatnonzero(weight)
    order = used[np.argsort(numbers[used])]
    left = ActiveSet(numbers[order], weight[order])
    return Minimum(best_x, best_bound, value, left, met, steps, calls)


def _settle(function: Convex, stored: Matrix, weight: Vector, promised: float) -> int:
    """Steps over the stored vertices until pairs promise no more than told; weight is changed."""
    steps = 0
    for turn in range(TURNS):
        x = weight @ stored
        _, gradient = function.at(x)
        target = _first_target(stored, weight, gradient) if promised < 0.0 else promised
        promised = target
        made = int(_descend(function.matrix, stored, weight, x, gradient, target, STEPS_A_TURN))
        steps += made
        if made < STEPS_A_TURN:
            break
        if turn + 1 < TURNS:
            _correct(function, stored, weight)
    return steps


def _correct(function: Convex, stored: Matrix, weight: Vector) -> None:
    """Minimise over the affine hull of the active vertices, as far as the weights stay positive.

    Vertices whose weight comes to 0 leave, until all that are left would stay (Wolfe, Mathematical
    Programming 11, 1976, for the nearest point of a polytope).
    """
    while True:
        active = np.flatnonzero(weight)
        if len(active) < 2:
            return
        atoms = stored[active]
        base, edges = atoms[0], atoms[1:] - atoms[0]
        image = edges @ function.matrix
        slope = 2.0 * (image @ base) + edges @ function.linear
        wanted, *_ = np.linalg.lstsq(2.0 * (image @ edges.T), -slope, rcond=1e-12)
        wanted = np.concatenate([[1.0 - wanted.sum()], wanted])
        own = weight[active]
        falling = wanted < own
        share = float((own[falling] / (own - wanted)[falling]).min(initial=1.0))
        new = own + share * (wanted - own)
        new[new < NEGLIGIBLE] = 0.0
        if function.at(new @ atoms)[0] > function.at(own @ atoms)[0]:
            return  # lost in rounding
        weight[active] = new / new.sum()
        if share >= 1.0 or (new > 0.0).all():
            return


def _first_target(stored: Matrix, weight: Vector, gradient: Vector) -> float:
    """A share of what the stored vertices promise at first."""
    scores = stored @ gradient
    return 0.01 * float(scores[weight > 0.0].max() - scores.min())


@strict
def _descend(matrix, stored, weight, x, gradient, target, most):  # type: ignore[no-untyped-def]
    """Pairwise steps over the stored vertices until a pair promises at most `target`.

    weight, x and gradient are changed in place. Returns the steps made.
    """
    for step in range(most):
        scores = np.dot(stored, gradient)
        near = np.argmin(scores)
        away = -1
        for a in range(len(weight)):
            if weight[a] > 0.0 and (away < 0 or scores[a] > scores[away]):
                away = a
        slope = scores[near] - scores[away]
        if -slope <= target or near == away:
            return step
        direction = stored[near] - stored[away]
        image = np.dot(matrix, direction)
        curve = 2.0 * np.dot(direction, image)
        longest = weight[away]
        length = longest if curve * longest <= -slope else -slope / curve
        weight[near] += length
        weight[away] = 0.0 if length == longest else weight[away] - length
        if weight[away] < NEGLIGIBLE:
            weight[near] += weight[away]
            weight[away] = 0.0
        x += length * direction
        gradient += 2.0 * length * image
    return most


def warm_up() -> None:
    """Compile the kernel, or load it."""
    ones: NDArray[np.float64] = np.eye(2)
    _descend(ones, ones.copy(), np.array([1.0, 0.0]), ones[0].copy(), ones[0].copy(), 0.1, 1)

"""Rigorous bounds of rows that share one diagonal shift d of their layer's Gram G.

With M = G - Diag(d) positive semidefinite, a row w and any x, no loss of a legal mask is less than

    b(x) = - y^T M y + min over legal v of (2 w * (M y) + w^2 * d) . v,     y = w * x,

as z^T Q z = (w * z)^T M (w * z) + sum_j w_j^2 d_j z_j on binaries, and that is convex in z. Units:
G / 2^e and w / 2^f with largest entries in [1/2, 1); powers of two are exact, and TINY covers what
underflows. Notation and sources as in `benchmarks.verify.quadratic`; every allowance is 1 % larger
than derived.

Positive semidefinite. Let r_j^2 = |G_jj| + |d_j|. Rows and columns are scaled by the powers of two
    that bring r_j^2 into [1/4, 1); off its diagonal the scaled M is exact, and on it one
    subtraction is rounded, by at most 2^-53 an entry. Less (gamma_8 max r_j^2 + room) I it is
    factorised and the factor multiplied out, as in `rigour`: it is semidefinite if that leaves a
    defect of at most the room, gamma_{2n+8} trace. If not, d_j is lowered by a multiple of both in
    scaled units, as `rigour.verified` lowers u. A column that is zero in G needs d_j <= 0 alone.
    This is done once for all rows that share d, and remembered.
Evaluation. Fewer than 4 n + 32 roundings lie on any path from data to b(x). Off the diagonal
    |G_ij| = |M_ij| <= sqrt(M_ii M_jj) <= r_i r_j, M being semidefinite, and on it |G_ii| + |d_i|
    is r_i^2: so with T the absolute terms of P = Diag(w) M Diag(w), T_ij <= |w_i| r_i r_j |w_j|,

        |x|^T T |x| + sum_i 2 (T |x|)_i + sum_i w_i^2 |d_i|  <=  a^2 + 2 a b + sum_i w_i^2 |d_i|

    with a = sum |w_j x_j| r_j and b = sum |w_j| r_j, and the error of b(x) is at most gamma times
    that. No product with |G| is due for it. The allowance covers sums in whatever order, so rows go
    through one product with the Gram together, and what a row's neighbours make of its last bits
    does not matter.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from math import ldexp, nextafter
from typing import Any
from weakref import WeakKeyDictionary

import numpy as np
from numpy.typing import NDArray

from maskgap.benchmarks.verify.clock import Clock
from maskgap.benchmarks.verify.form import array_fault, number_fault
from maskgap.benchmarks.verify.quadratic import LADDER, TINY, require_finite
from maskgap.instances.arrays import Vector
from maskgap.instances.definite import SMALL, defect, gamma
from maskgap.instances.errors import ProofError
from maskgap.instances.formats.evidence.shared_shift import SharedShift
from maskgap.instances.layer import Layer, array_digest, unit_rows
from maskgap.instances.problem import Part

LARGEST = 1e30
"""Shifts beyond this, in units of the largest entry of the Gram, are refused."""

BLOCK = 256
"""Rows of the Gram scaled at once, and rows of weights that go through one product with it."""


@dataclass(frozen=True, eq=False)
class _Shift:
    """d lowered, in units of `Layer.gram_unit`, and r; or why the shift stated does not hold."""

    shift: Vector
    spread: Vector
    reason: str = ""


_seen: WeakKeyDictionary[Layer, dict[str, _Shift]] = WeakKeyDictionary()


def shift_faults(problem: Part, shared: SharedShift) -> Iterator[str]:
    """What is wrong with the form of a shared shift; later faults may rest on earlier ones."""
    if problem.legal.equal_groups is None or problem.height != 1:
        yield f"a shift bounds a row under equal budgets, not '{problem.pattern}'"
    for name, array, dtype in (
        ("shift", shared.shift, np.float64),
        ("point", shared.point, np.float32),
    ):
        fault = array_fault(array, dtype, (problem.n,))
        # a shift is in units of the Gram, so its size is judged where that is known
        if not fault:
            fault = number_fault(array) if name == "point" else _infinite(array)
        if fault:
            yield f"its {name}: {fault}"


def _infinite(array: Any) -> str:
    return "" if bool(np.isfinite(array).all()) else "expected finite numbers"


def shift_bound(problem: Part, shared: SharedShift, _: Clock) -> tuple[float, int]:
    """b(x) less its allowance, at least 0, in units of the layer's loss; and 1, for its leaf.

    shared: of a form that `shift_faults` has found right. Raises ProofError.
    """
    (found,) = shift_bounds([problem], [shared])
    if isinstance(found, ProofError):
        raise found
    return found, 1


def shift_bounds(
    problems: Sequence[Part], proofs: Sequence[SharedShift]
) -> list[float | ProofError]:
    """The same of rows of one layer under one pattern, or why a row has none.

    Rows that share a shift go through one product with the Gram, by blocks.
    """
    found: dict[int, float | ProofError] = {}
    by_shift: dict[str, list[int]] = {}
    for place, shared in enumerate(proofs):
        # not by identity: arrays can be written to
        by_shift.setdefault(array_digest(shared.shift), []).append(place)
    for key, places in by_shift.items():
        layer = problems[places[0]].layer
        known = _seen.setdefault(layer, {})
        if key not in known:
            known[key] = _verified(layer, proofs[places[0]].shift)
        for top in range(0, len(places), BLOCK):
            own = places[top : top + BLOCK]
            bounds = _block(known[key], [problems[i] for i in own], [proofs[i].point for i in own])
            found.update(zip(own, bounds, strict=True))
    return [found[place] for place in range(len(proofs))]


def _block(
    held: _Shift, problems: Sequence[Part], points: Sequence[NDArray[np.float32]]
) -> list[float | ProofError]:
    """The bounds of rows that share a shift, one product for all of them."""
    if held.reason:
        return [ProofError(f"row {part.row}: {held.reason}") for part in problems]
    layer, groups = problems[0].layer, problems[0].groups
    gram, gram_exponent = layer.gram_unit
    weight, exponents = unit_rows(np.stack([part.weight for part in problems]))
    x = np.stack(points).astype(np.float64)
    image = weight * x
    product = weight * (image @ gram - held.shift * image)
    energy = weight * weight * held.shift
    gradient = (2.0 * product + energy).reshape(len(x), groups.count, groups.size)
    lowest = np.sort(gradient, axis=2)[:, :, : groups.pruned].reshape(len(x), -1).sum(axis=1)
    inner = (np.abs(image) * held.spread).sum(axis=1)
    width = (np.abs(weight) * held.spread).sum(axis=1)
    size = inner * inner + 2.0 * inner * width + np.abs(energy).sum(axis=1)
    allowance = gamma(4 * layer.d_in + 32) * size + TINY
    bounds = lowest - (x * product).sum(axis=1) - allowance
    clean = np.isfinite(gradient).reshape(len(x), -1).all(axis=1) & np.isfinite(bounds)
    found: list[float | ProofError] = []
    for place, part in enumerate(problems):
        try:
            if not clean[place]:
                raise ProofError(
                    f"row {part.row}: the bound at its point left the range of float64"
                )
            least = max(0.0, float(bounds[place]))
            found.append(_rescaled(part, least, 2 * int(exponents[place]) + gram_exponent))
        except ProofError as error:
            found.append(error)
    return found


def _rescaled(problem: Part, bound: float, exponent: int) -> float:
    """At most bound 2^exponent, and next to it. Raises ProofError."""
    value = float(np.ldexp(bound, exponent))
    require_finite(f"row {problem.row}: the bound", value)
    return value if ldexp(value, -exponent) <= bound else nextafter(value, 0.0)


def _verified(layer: Layer, stated: Vector) -> _Shift:
    """The shift with which M is shown semidefinite."""
    gram, exponent = layer.gram_unit
    shift = np.ldexp(stated, -exponent)
    if not bool((np.abs(shift) <= LARGEST).all()):
        return _Shift(shift, shift, "its shift is not finite or far beyond the Gram")
    live = gram.any(axis=1)
    if bool((shift[~live] > 0.0).any()):
        column = int(np.flatnonzero(~live & (shift > 0.0))[0])
        return _Shift(shift, shift, f"its shift is positive at column {column}, which is dead")
    square = np.abs(gram.diagonal()) + np.abs(shift)
    _, doubled = np.frexp(square)
    half = np.where(square > 0.0, -(-doubled // 2), 0)[live]  # 2^(2 half) is square to 4 times it
    scaled = gram[np.ix_(live, live)]
    for top in range(0, len(half), BLOCK):
        part = scaled[top : top + BLOCK]
        np.ldexp(part, -half[top : top + BLOCK, None] - half[None, :], out=part)
    if not bool(np.isfinite(scaled).all()):
        return _Shift(shift, shift, "a column's diagonal is too small for its other entries")
    own, count = scaled.diagonal().copy(), len(half)
    for step in LADDER:
        lowered = shift.copy()
        unit = sum(_taken(own, np.ldexp(shift[live], -2 * half)))
        lowered[live] -= np.ldexp(np.full(count, step * unit), 2 * half)
        d = np.ldexp(lowered[live], -2 * half)
        taken, room = _taken(own, d)
        matrix = scaled.copy()
        matrix[np.diag_indices(count)] = (own - d) - (taken + room)
        if defect(matrix) <= room:
            return _Shift(lowered, np.sqrt(np.abs(gram.diagonal()) + np.abs(lowered)))
    return _Shift(shift, shift, "the Gram less its shift is not positive semidefinite")


def _taken(own: Vector, shift: Vector) -> tuple[float, float]:
    """What roundings can take, and the room for a factor, for diagonal and shift in scaled units.

    Rounding of the shifted diagonal is covered by the first.
    """
    size, count = np.abs(own) + np.abs(shift), len(own)
    taken = 1.01 * gamma(8) * float(size.max(initial=0.0)) + count**2 * TINY
    room = 1.01 * gamma(2 * count + 8) * float(size.sum()) + 2.0 * count * SMALL
    return taken, room

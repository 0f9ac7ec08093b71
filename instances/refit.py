"""Weights re-optimised for a mask of a row w with kept columns S and pruned columns P.

    x_P = 0,   x_S = w_S + H_SS^-1 H_SP w_P        minimises (x - w)^T H (x - w) over x_P = 0.

In delta = w - x that is delta_P = w_P, delta_S = -H_SS^-1 H_SP w_P, and the loss is
delta^T H delta, which an error of the solve raises by its square alone: every x with x_P = 0 gives
an upper bound.

One Cholesky factorisation a row, |S|^3 / 3 operations; or, where rows are many and wide, conjugate
gradients on all rows together (`instances.refit_batch`), some 60 times 2 n^2 operations a row. One
thread took 0.4 s a row for the one and 0.05 s for the other at n = 4096, half of it kept; 10 ms and
4 ms at 1024. Torch is imported for the latter alone.
"""

from dataclasses import dataclass
from typing import Literal

import numpy as np
import scipy.linalg

from maskgap.instances.arrays import Kept, Matrix, Vector, pruned_of

WORTH = 1e10
"""Operations of all factorisations from which on other ways are thought of: about a second."""

ITERATIONS = 60
"""Iterations of conjugate gradients that are reckoned with."""

PRODUCT_SPEED = 5
"""How many times faster a product of matrices is than factors of parts of H, an operation."""

FEWEST_ROWS = 16
"""Fewer rows than these cost a product with H as much, for it has to be read."""


@dataclass(frozen=True, slots=True)
class Solves:
    """How weights are re-optimised.

    method: 'cholesky' a row, 'gradients' for all, or 'auto', by what is reckoned to cost less.
    tolerance: relative residual at which gradients end; losses are off by its square times the
    condition of H, see `instances.refit_batch`. single: products of gradients in float32, refined
    to the same tolerance: some 1.5 times faster on processors. device: a torch device.
    """

    method: Literal["auto", "cholesky", "gradients"] = "auto"
    tolerance: float = 1e-8
    single: bool = False
    device: str = "cpu"


AUTO = Solves()
"""On the processor, in float64."""


def refit(hessian: Matrix, target: Matrix, kept: Kept, solves: Solves = AUTO) -> Matrix:
    """The weights x (rows, n) float64, 0 where pruned.

    hessian: (n, n) float64, positive definite. target: (rows, n) float64, w in the same units as x.
    kept: (rows, n).
    """
    return np.where(kept, target - changes(hessian, target, kept, solves), 0.0)


def changes(hessian: Matrix, target: Matrix, kept: Kept, solves: Solves = AUTO) -> Matrix:
    """What masks change, delta = w - x (rows, n) float64, of the same arrays; w where pruned.

    Rows that gradients, or factors on a device, do not solve have a factor of their own.
    """
    if gradients_pay(kept) if solves.method == "auto" else solves.method == "gradients":
        from maskgap.instances.refit_batch import by_gradients

        found, done = by_gradients(
            hessian,
            target,
            kept,
            tolerance=solves.tolerance,
            device=solves.device,
            single=solves.single,
        )
    elif solves.device != "cpu":
        from maskgap.instances.refit_batch import by_factors

        found = by_factors(hessian, target, kept, solves.device)
        done = np.asarray(np.isfinite(found).all(axis=1))
    else:
        found, done = np.empty_like(target), np.zeros(len(target), dtype=bool)
    rest = np.invert(done)
    if rest.any():
        found[rest] = _by_row(hessian, target[rest], Kept(kept[rest]))
    return found


def gradients_pay(kept: Kept) -> bool:
    """Whether conjugate gradients are reckoned to cost less than a factorisation a row."""
    rows, n = kept.shape
    factors = float((kept.sum(axis=1, dtype=np.float64) ** 3).sum()) / 3.0
    products = 2.0 * ITERATIONS * n**2 * max(rows, FEWEST_ROWS)
    return factors > WORTH and products < PRODUCT_SPEED * factors


def _by_row(hessian: Matrix, target: Matrix, kept: Kept) -> Matrix:
    found = np.where(kept, 0.0, target)
    for row, mask in enumerate(kept):
        chosen = np.flatnonzero(mask)
        rest = np.flatnonzero(pruned_of(mask) & (target[row] != 0.0))
        if len(chosen) and len(rest):
            pull = hessian[np.ix_(chosen, rest)] @ target[row, rest]
            found[row, chosen] = -_solved(hessian[np.ix_(chosen, chosen)], pull)
    return found


def _solved(matrix: Matrix, right: Vector) -> Vector:
    try:
        factor = scipy.linalg.cho_factor(matrix, lower=True, check_finite=False)
        found: Vector = scipy.linalg.cho_solve(factor, right, check_finite=False)
    except scipy.linalg.LinAlgError:  # definite by so little that float64 does not see it
        found = scipy.linalg.lstsq(matrix, right, check_finite=False)[0]
    return found

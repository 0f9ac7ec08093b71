"""Weights re-optimised for the masks of many rows at once, in torch, on the processor or CUDA.

With H (n, n) shared by all rows, delta = w - x is -y on the kept columns S of a row, where

    H_SS y = b,      b = H_SP w_P.

**Conjugate gradients**, all rows together: with y, residuals and directions zero off S, the product
with H_SS is one of a (rows, n) matrix with H, masked; 2 n^2 operations a row and iteration whatever
the masks are, where a Cholesky factor takes |S|^3 / 3. A row ends when its residual r has

    r^T D^-1 r <= tolerance^2 b^T D^-1 b,      D = diag H.

The loss then exceeds its minimum by r^T H_SS^-1 r, at most tolerance^2 times the condition of
D^-1/2 H D^-1/2 times what refitting gains. As preconditioner H is replaced by

    D^1/2 (rest I + U diag(theta - rest) U^T) D^1/2,

U and theta near the RANK largest eigenpairs of D^-1/2 H D^-1/2 (subspace iteration), rest the mean
of the others; on S it is inverted exactly, by a RANK x RANK matrix a row. Inputs of language models
have few large eigenvalues, so iterations are half of those with D alone.

In float32 the same runs to COARSE a few times, each time on the float64 residual of what was found
so far (iterative refinement). Rows that do not converge, as H is near singular, are given back.

**Batched Cholesky** for devices whose memory takes many factors.
"""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from maskgap.instances.arrays import Flags, Kept, Matrix

RANK = 64
"""Columns of U, at most an eighth of n."""

POWERS = 6
"""Products of U with the scaled H."""

LARGEST = 500
"""Iterations at most."""

COARSE = 1e-4
"""Tolerance of a solve in float32."""

REFINEMENTS = 6
"""Solves in float32 at most."""

ROW_NUMBERS = 1 << 23
"""Numbers of the rows that are solved together, at most: 64 MiB a matrix."""

FACTOR_NUMBERS = 1 << 27
"""Numbers of the factors that are made together, at most: 1 GiB."""


def by_gradients(
    hessian: Matrix, target: Matrix, kept: Kept, *, tolerance: float, device: str, single: bool
) -> tuple[Matrix, Flags]:
    """What masks change, delta (rows, n) float64, w where pruned; and which rows converged.

    hessian: H (n, n) float64. target: w (rows, n) float64. kept: (rows, n). tolerance: of
    residuals, see above. device: a torch device. single: whether most products are in float32.
    Takes some 10 matrices of `ROW_NUMBERS` numbers beside H, and H again in float32.
    """
    where = torch.device(device)
    whole = _System.of(torch.from_numpy(hessian).to(where))
    coarse = whole.to(torch.float32) if single else whole
    found, done = np.empty_like(target), np.zeros(len(target), dtype=bool)
    height = max(1, ROW_NUMBERS // len(hessian))
    for top in range(0, len(target), height):
        part = slice(top, top + height)
        weight = torch.from_numpy(target[part]).to(where)
        mask = torch.from_numpy(kept[part]).to(where)
        pruned = weight.masked_fill(mask, 0.0)
        right = (pruned @ whole.hessian).masked_fill_(~mask, 0.0)
        if single:
            y, met = _refined(whole, coarse, right, mask, tolerance)
        else:
            y, met = _solve(whole, right, mask, tolerance)
        found[part], done[part] = (pruned - y).cpu().numpy(), met.cpu().numpy()
    return found, done


def by_factors(hessian: Matrix, target: Matrix, kept: Kept, device: str) -> Matrix:
    """What masks change, as `by_gradients`, by Cholesky factors made together on a device.

    |S|^3 / 3 operations a row, and |S|^2 numbers. Rows are padded to the widest of their batch by
    columns of the identity. Rows without a factor have NaN.
    """
    where = torch.device(device)
    matrix = torch.from_numpy(hessian).to(where)
    order = np.argsort(kept.sum(axis=1), kind="stable")  # rows of alike widths together
    found = np.empty_like(target)
    width = max(1, int(kept.sum(axis=1).max(initial=0)))
    height = max(1, FACTOR_NUMBERS // width**2)
    for top in range(0, len(target), height):
        rows = order[top : top + height]
        weight, mask = (torch.from_numpy(a[rows]).to(where) for a in (target, kept))
        found[rows] = _factored(matrix, weight, mask).cpu().numpy()
    return found


def _factored(matrix: Tensor, weight: Tensor, mask: Tensor) -> Tensor:
    counts = mask.sum(dim=1)
    width = int(counts.max())
    pruned = weight.masked_fill(mask, 0.0)
    if width == 0:
        return pruned
    stay = torch.argsort((~mask).to(torch.int8), dim=1, stable=True)[:, :width]
    real = torch.arange(width, device=mask.device) < counts[:, None]
    inner = matrix[stay[:, :, None], stay[:, None, :]]
    inner.masked_fill_(~(real[:, :, None] & real[:, None, :]), 0.0)
    inner.diagonal(dim1=1, dim2=2).masked_fill_(~real, 1.0)
    lower, failed = torch.linalg.cholesky_ex(inner)
    right = (pruned @ matrix).gather(1, stay).masked_fill_(~real, 0.0)
    y = torch.cholesky_solve(right[:, :, None], lower)[:, :, 0]
    y[failed > 0] = torch.nan
    return pruned.scatter_add(1, stay, -y.masked_fill(~real, 0.0))


@dataclass(frozen=True, eq=False)
class _System:
    """H and what preconditions it. scale: (n,) D^-1/2. vectors: U (n, r). theta: (r,)."""

    hessian: Tensor
    scale: Tensor
    vectors: Tensor
    theta: Tensor
    rest: float

    @staticmethod
    def of(hessian: Tensor) -> "_System":
        n = len(hessian)
        scale = hessian.diagonal().rsqrt()
        rank = min(RANK, n // 8)
        start = np.random.default_rng(0).normal(size=(n, rank))
        vectors = torch.from_numpy(start).to(hessian.device)
        ritz, theta = vectors, vectors.new_empty(0)
        for _ in range(POWERS if rank else 0):
            vectors, _ = torch.linalg.qr(vectors)
            moved = scale[:, None] * (hessian @ (scale[:, None] * vectors))
            theta, turn = torch.linalg.eigh(vectors.mT @ moved)
            ritz, vectors = vectors @ turn, moved
        rest = (n - float(theta.sum())) / (n - rank)
        above = theta > 2.0 * rest
        return _System(hessian, scale, ritz[:, above], theta[above], rest)

    def to(self, dtype: torch.dtype) -> "_System":
        return _System(
            self.hessian.to(dtype),
            self.scale.to(dtype),
            self.vectors.to(dtype),
            self.theta.to(dtype),
            self.rest,
        )

    def preconditioner(self, mask: Tensor) -> Callable[[Tensor], Tensor]:
        """The map of residuals (rows, n) that are zero off the mask."""
        scale, rest, count = self.scale, self.rest, len(self.theta)
        if not count:
            return lambda residual: residual * scale**2
        vectors = self.vectors
        pairs = (vectors[:, :, None] * vectors[:, None, :]).flatten(1)
        inner = (mask.to(vectors.dtype) @ pairs).view(-1, count, count)
        inner.diagonal(dim1=1, dim2=2).add_(rest / (self.theta - rest))
        inverse = torch.linalg.inv(inner)

        def apply(residual: Tensor) -> Tensor:
            scaled = residual * scale
            part = torch.bmm(inverse, (scaled @ vectors)[:, :, None])[:, :, 0]
            return (scaled - part @ vectors.mT).mul_(scale / rest).masked_fill_(~mask, 0.0)

        return apply


def _solve(system: _System, right: Tensor, mask: Tensor, tolerance: float) -> tuple[Tensor, Tensor]:
    """(y, which rows converged), of rows whose right sides are zero off their masks."""
    y, met = torch.zeros_like(right), torch.zeros_like(mask[:, 0])
    scale, hessian = system.scale, system.hessian
    wanted = tolerance**2 * (right * scale).square().sum(dim=1)
    rows = torch.arange(len(right), device=right.device)
    residual, own, precondition = right.clone(), mask, system.preconditioner(mask)
    own_y = torch.zeros_like(right)
    direction = precondition(residual)
    size = (residual * direction).sum(dim=1)
    for step in range(LARGEST + 1):
        small = (residual * scale).square().sum(dim=1) <= wanted
        count = int(small.sum())
        if count == len(rows) or step == LARGEST:
            y[rows], met[rows] = own_y, small
            break
        if 4 * count >= len(rows):  # rows that have converged leave, a quarter at a time
            y[rows], met[rows] = own_y, small
            rest = (~small).nonzero()[:, 0]
            rows, residual, own_y, direction, size, own, wanted = (
                tensor[rest] for tensor in (rows, residual, own_y, direction, size, own, wanted)
            )
            precondition = system.preconditioner(own)
        moved = (direction @ hessian).masked_fill_(~own, 0.0)
        along = (direction * moved).sum(dim=1)
        length = torch.where(along > 0.0, size / along, 0.0)[:, None]
        own_y.addcmul_(length, direction)
        residual.addcmul_(length, moved, value=-1.0)
        better = precondition(residual)
        following = (residual * better).sum(dim=1)
        share = torch.where(size > 0.0, following / size, 0.0)
        direction, size = better.addcmul_(share[:, None], direction), following
    return y, met


def _refined(
    whole: _System, coarse: _System, right: Tensor, mask: Tensor, tolerance: float
) -> tuple[Tensor, Tensor]:
    """As `_solve`: solves in float32, each on the residual of all before it."""
    y, residual = torch.zeros_like(right), right.clone()
    wanted = tolerance**2 * (right * whole.scale).square().sum(dim=1)
    met = (residual * whole.scale).square().sum(dim=1) <= wanted
    for _ in range(REFINEMENTS):
        rows = (~met).nonzero()[:, 0]
        if not len(rows):
            break
        part = residual[rows]
        size = part.abs().amax(dim=1, keepdim=True)
        step, _ = _solve(coarse, (part / size).to(torch.float32), mask[rows], COARSE)
        y[rows] += step.to(y.dtype) * size
        left = right[rows] - (y[rows] @ whole.hessian)
        residual[rows] = left.masked_fill_(~mask[rows], 0.0)
        met[rows] = (residual[rows] * whole.scale).square().sum(dim=1) <= wanted[rows]
    return y, met

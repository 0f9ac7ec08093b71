"""The interior-point method of `bounds.interior` for many rows at once, in torch, float64.

The steps are those of `interior.advance` without triangle inequalities, on the face of equal groups
(`bounds.face`), every matrix with one more index, that of the row:

    minimise <C, Y>,  Y = B R B^T,  diag(Y) = 1;      S = B^T (C - Diag(y)) B.

Rows that have closed their gap, or whose arithmetic ends, leave the batch. A row takes about
ROW_MATRICES matrices of (n + 1)^2 numbers: 20 MiB at n = 384, 300 MiB at 1536, 540 MiB at 2048.
"""

from collections.abc import Sequence
from dataclasses import dataclass, fields, replace

import numpy as np
import torch
from torch import Tensor

from maskgap.instances.arrays import Matrix, Vector
from maskgap.instances.masks.groups import BudgetGroups
from maskgap.solvers.bounds.face import Face
from maskgap.solvers.bounds.iterate import FIRST_MARGIN, Iterate
from maskgap.solvers.bounds.sdp_solution import SdpSolution
from maskgap.solvers.bounds.semidefinite import (
    LEAST_SCALE,
    MISSED,
    MOST_STEPS,
    TOLERANCE,
    lifted_cost,
)
from maskgap.solvers.bounds.step_length import STEP_TO_BOUNDARY
from maskgap.solvers.bounds.triangles import no_cuts
from maskgap.solvers.protocol import Deadline

ROW_MATRICES = 16
"""Matrices of order n + 1 that a row takes while it steps, about."""


class _Map:
    """B of a face, on a device, for matrices (rows, n + 1, columns)."""

    def __init__(self, groups: BudgetGroups, device: torch.device) -> None:
        self._count, self._size = groups.count, groups.size
        self._mean = 2.0 * groups.pruned / groups.size - 1.0
        self._norm = float(np.sqrt(1.0 + groups.n * self._mean**2))
        w = torch.full((groups.size,), groups.size**-0.5, dtype=torch.float64, device=device)
        w[0] += 1.0
        self._w, self._scaled = w, 2.0 / (w @ w) * w

    def _down(self, X: Tensor) -> Tensor:
        grouped = X[:, 1:].reshape(len(X), self._count, self._size, -1)
        along = torch.einsum("s,rgsc->rgc", self._w, grouped)
        rest = grouped[:, :, 1:] - self._scaled[1:, None] * along[:, :, None, :]
        first = (X[:, 0] + self._mean * X[:, 1:].sum(dim=1)) / self._norm
        return torch.cat([first[:, None], rest.reshape(len(X), -1, X.shape[2])], dim=1)

    def _up(self, R: Tensor) -> Tensor:
        inner = R[:, 1:].reshape(len(R), self._count, self._size - 1, -1)
        along = torch.einsum("s,rgsc->rgc", self._w[1:], inner)
        head = -self._scaled[0] * along[:, :, None, :]
        body = torch.cat([head, inner - self._scaled[1:, None] * along[:, :, None, :]], dim=2)
        first = R[:, :1] / self._norm
        body = body.reshape(len(R), -1, R.shape[2]) + self._mean * first
        return torch.cat([first, body], dim=1)

    def project(self, X: Tensor) -> Tensor:
        """B^T X B of symmetric X (rows, n + 1, n + 1)."""
        return self._down(self._down(X).mT.contiguous())

    def lift(self, R: Tensor) -> Tensor:
        """B R B^T of symmetric R (rows, order, order)."""
        return self._up(self._up(R).mT.contiguous())


@dataclass(frozen=True, eq=False)
class _Rows:
    """Iterates: y (rows, n + 1), primal R and slack S (rows, order, order), place (rows,)."""

    y: Tensor
    primal: Tensor
    slack: Tensor
    place: Tensor

    def take(self, where: Tensor) -> "_Rows":
        """Some of the rows."""
        return _Rows(*(getattr(self, field.name)[where] for field in fields(self)))


def solve_rows(
    quads: Sequence[Matrix],
    groups: BudgetGroups,
    device: str,
    deadline: Deadline,
    tolerance: float = TOLERANCE,
) -> list[SdpSolution]:
    """The solutions of some rows as `semidefinite.solve_sdp` has them, in batches that fit.

    quads: each (n, n) float64, mean diagonal near 1, not zero. groups: with a mask to choose.
    """
    height = rows_that_fit(device, groups.n)
    return [
        solution
        for first in range(0, len(quads), height)
        for solution in _batch(quads[first : first + height], groups, device, deadline, tolerance)
    ]


def _batch(
    quads: Sequence[Matrix], groups: BudgetGroups, device: str, deadline: Deadline, tolerance: float
) -> list[SdpSolution]:
    """As `solve_rows`, all in one batch."""
    face, where = Face(groups), torch.device(device)
    basis = _Map(groups, where)
    cost = torch.as_tensor(np.stack([lifted_cost(quad) for quad in quads]), device=where)
    at = _centre(face, basis, cost)
    ended: dict[int, tuple[_Rows, int, bool]] = {}
    for step in range(MOST_STEPS + 1):
        gap = (at.primal * at.slack).sum(dim=(1, 2))
        lifted = basis.lift(at.primal)
        missed = (lifted.diagonal(dim1=1, dim2=2) - 1.0).abs().amax(dim=1)
        scale = at.y.sum(dim=1).abs().clamp(min=LEAST_SCALE)
        closed = (gap <= tolerance * scale) & (missed <= MISSED)
        over = step == MOST_STEPS or deadline.expired()
        gone = torch.ones_like(closed) if over else closed
        following = None
        if not bool(gone.all()):
            following, fine = _advance(basis, at, gap, lifted)
            gone = gone | ~fine
            following = following.take(~gone)
        for i in gone.nonzero()[:, 0].tolist():
            ended[int(at.place[i])] = (
                at.take(torch.tensor([i], device=where)),
                step,
                bool(closed[i]),
            )
        if following is None or not len(following.place):
            break
        at = following
    return [
        SdpSolution.of(quad, groups, _iterate(face, rows), steps, converged)
        for quad, (rows, steps, converged) in zip(
            quads, (ended[row] for row in range(len(quads))), strict=True
        )
    ]


def rows_that_fit(device: str, n: int) -> int:
    """Rows of a batch, by the memory that is free on a device; at least 1."""
    free = 1 << 31
    if torch.device(device).type == "cuda":
        free, _ = torch.cuda.mem_get_info(torch.device(device))
    return max(1, int(0.8 * free) // (8 * ROW_MATRICES * (n + 1) ** 2))


def _iterate(face: Face, rows: _Rows) -> Iterate:
    """The one row left as `interior` has it."""
    y, primal, slack = (
        np.asarray(tensor[0].cpu().numpy()) for tensor in (rows.y, rows.primal, rows.slack)
    )
    none: Vector = np.zeros(0)
    return Iterate(face, no_cuts(), y, none, primal, slack, none)


def _centre(face: Face, basis: _Map, cost: Tensor) -> _Rows:
    """As `iterate.centre`."""
    mean, spread = face.mean_of_masks()
    scale, y = (torch.as_tensor(array, device=cost.device) for array in (mean, spread))
    inner = basis.project(cost)
    root = scale.sqrt()
    scaled = root[:, None] * inner * root
    least = torch.linalg.eigvalsh(scaled)[:, 0]
    trace = scaled.diagonal(dim1=1, dim2=2).sum(dim=1)
    size = torch.maximum(trace, scaled.abs().amax(dim=(1, 2)))
    shift = FIRST_MARGIN * size / len(scale) - least
    slack = inner + torch.diag_embed(shift[:, None] / scale)
    primal = torch.diag(scale).repeat(len(cost), 1, 1)
    place = torch.arange(len(cost), device=cost.device)
    return _Rows(-shift[:, None] * y, primal, slack, place)


def _advance(basis: _Map, at: _Rows, gap: Tensor, lifted: Tensor) -> tuple[_Rows, Tensor]:
    """As `interior.advance`: the next iterates, and (rows,) whether the arithmetic allowed one."""
    lower, bad = torch.linalg.cholesky_ex(at.slack)
    upper, worse = torch.linalg.cholesky_ex(at.primal)
    fine = (bad == 0) & (worse == 0)
    inverse = torch.cholesky_inverse(lower)
    spread = basis.lift(inverse)
    system = spread * lifted
    system.diagonal(dim1=1, dim2=2).mul_(1.0 + 1e-13)
    factor, singular = torch.linalg.cholesky_ex(system)
    fine &= singular == 0
    pull = spread.diagonal(dim1=1, dim2=2)

    def direction(centre: Tensor, bent: Tensor | None) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        right = 1.0 - centre[:, None] * pull
        if bent is not None:
            right = right + basis.lift(bent).diagonal(dim1=1, dim2=2)
        y = torch.cholesky_solve(right[:, :, None], factor)[:, :, 0]
        slack = -basis.project(torch.diag_embed(y))
        image = inverse @ slack
        primal = centre[:, None, None] * inverse - at.primal - _symmetric(image @ at.primal)
        return y, primal if bent is None else primal - bent, slack, image

    def ahead(primal: Tensor, slack: Tensor) -> tuple[Tensor, Tensor]:
        return _to_boundary(upper, primal, fine), _to_boundary(lower, slack, fine)

    _, primal, slack, image = direction(torch.zeros_like(gap), None)
    far, high = (step[:, None, None] for step in ahead(primal, slack))
    reached = ((at.primal + far * primal) * (at.slack + high * slack)).sum(dim=(1, 2))
    centring = (reached / gap).clamp(0.0, 1.0) ** 2
    mu = gap / at.primal.shape[1]
    y, primal, slack, _ = direction(centring * mu, _symmetric(image @ primal))
    far, high = (step[:, None, None] for step in ahead(primal, slack))
    following = replace(
        at,
        y=at.y + high[:, :, 0] * y,
        primal=_symmetric(at.primal + far * primal),
        slack=_symmetric(at.slack + high * slack),
    )
    return following, fine


def _to_boundary(lower: Tensor, direction: Tensor, fine: Tensor) -> Tensor:
    """As `step_length.to_boundary`, (rows,); of rows that are not fine, whatever comes."""
    half = torch.linalg.solve_triangular(lower, direction, upper=False)
    scaled = torch.linalg.solve_triangular(lower, half.mT, upper=False)
    safe = torch.where(fine[:, None, None], scaled, torch.zeros_like(scaled))
    least = torch.linalg.eigvalsh(safe)[:, 0]
    cut = -STEP_TO_BOUNDARY / least.clamp(max=-STEP_TO_BOUNDARY)
    return torch.where(least > -STEP_TO_BOUNDARY, torch.ones_like(least), cut)


def _symmetric(matrix: Tensor) -> Tensor:
    return 0.5 * (matrix + matrix.mT)

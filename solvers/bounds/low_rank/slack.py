"""The least eigenvalues of the slack of a batch of rows, on the space where budgets hold.

    S = P (C - sum of t c c^T - Diag(y)) P,     P the projection on the space orthogonal to all a_g.

For any y and any t >= 0 the relaxation is at least

    sum of y + sum of t + (n + 1) min(0, lambda_min(S)),

as the Y that it is over have trace n + 1 and live there. Lanczos with full orthogonalisation is
done on D^-1/2 S D^-1/2 with D the diagonal of S, whose largest eigenvalues are not thousands of
times its mean as those of S may be, so that few steps reach the least; S itself is then minimised
over the span of what they find least. That finds lambda_min from above, which is enough to go by;
what is proved is factorised later.
"""

from collections.abc import Callable
from dataclasses import dataclass

import torch

from maskgap.solvers.bounds.low_rank.factor import Factor

FOUND = 8
"""Eigenvectors that are looked for."""

SPANNED = 16
"""Vectors that S is minimised over."""

FLOOR = 1e-4
"""Least entry of D as a share of the mean."""

TINY = 1e-30


@dataclass(frozen=True, eq=False)
class Slack:
    """y: (n + 1, rows) float64. value: (rows,) float64, sum of y and t. bound: (rows,) float64.

    least: (rows, FOUND) eigenvalues, and directions (n + 1, rows, FOUND).
    """

    y: torch.Tensor
    value: torch.Tensor
    bound: torch.Tensor
    least: torch.Tensor
    directions: torch.Tensor


def slack_of(factor: Factor, steps: int) -> Slack:
    """The slack of the multipliers that V stands for, by so many steps of Lanczos."""
    y = factor.multipliers()
    value = y.sum(dim=0) + factor.cuts.sums()
    costs, budgets, cuts = factor.costs, factor.budgets, factor.cuts
    own, held = y.to(factor.vectors.dtype), cuts.no_slopes
    diagonal = costs.diagonal() - own - cuts.loads(len(own), 0.0) / 3.0
    scale = diagonal.clamp_min(FLOOR * diagonal.abs().mean(dim=0) + TINY).rsqrt()

    def times(x: torch.Tensor) -> torch.Tensor:
        inner = scale[:, :, None] * budgets.project(x[:, :, None], scale)
        out = costs.times(inner)
        cuts.pull(inner, held, out)
        out = out.addcmul_(own[:, :, None], inner, value=-1.0)
        return budgets.project(scale[:, :, None] * out, scale)[:, :, 0]

    order = len(y)
    steps = min(steps, order - budgets.groups.count)
    draw = torch.Generator().manual_seed(order)
    start = torch.randn(tuple(own.shape), generator=draw, dtype=torch.float32).to(own)
    basis, inner = _krylov(times, budgets.project(start[:, :, None], scale)[:, :, 0], steps)
    _, turn = torch.linalg.eigh(inner)
    lowest = turn[:, :, : min(SPANNED, steps)].to(basis.dtype)
    near = ((scale * basis).permute(2, 1, 0) @ lowest).to(torch.float64)  # (rows, n + 1, SPANNED)
    # S is far below 0 along an a_g: what float32 left of them there is taken off
    near = budgets.project(near.permute(1, 0, 2), torch.ones_like(y))
    span, _ = torch.linalg.qr(near.permute(1, 0, 2))
    thin = span.to(own.dtype).transpose(0, 1).contiguous()
    image = costs.times(thin)
    cuts.pull(thin, held, image)
    image = image.addcmul_(own[:, :, None], thin, value=-1.0).transpose(0, 1).to(torch.float64)
    least, turn = torch.linalg.eigh(span.transpose(1, 2) @ image)
    directions = (span @ turn).to(own.dtype).transpose(0, 1)[:, :, :FOUND]
    least = least[:, :FOUND]
    bound = value + order * least[:, 0].clamp_max(0.0)
    return Slack(y, value, bound, least, directions)


def _krylov(
    times: Callable[[torch.Tensor], torch.Tensor], start: torch.Tensor, steps: int
) -> tuple[torch.Tensor, torch.Tensor]:
    """An orthonormal basis (steps, n + 1, rows), and the operator in it (rows, steps, steps)."""
    basis = start.new_zeros((steps, *start.shape))
    basis[0] = start / start.norm(dim=0).clamp_min(TINY)
    inner = start.new_zeros((start.shape[1], steps, steps), dtype=torch.float64)
    for step in range(steps):
        image = times(basis[step])
        for _ in range(2):  # twice is enough (Parlett)
            against = torch.einsum("snb,nb->sb", basis[: step + 1], image)
            inner[:, : step + 1, step] += against.T
            image = image - torch.einsum("snb,sb->nb", basis[: step + 1], against)
        if step + 1 < steps:
            basis[step + 1] = image / image.norm(dim=0).clamp_min(TINY)
    upper = torch.triu(inner)
    return basis, upper + torch.triu(upper, 1).transpose(1, 2)

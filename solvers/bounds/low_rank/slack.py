"""The least eigenvalues of the slack of a batch of rows, on the space where budgets hold.

    S = P (C - sum of t c c^T - Diag(y)) P,     P the projection on the space orthogonal to all a_g.

For any y and any t >= 0 the relaxation is at least

    sum of y + sum of t + (n + 1) min(0, lambda_min(S)),

as the Y that it is over have trace n + 1 and live there. Lanczos with full orthogonalisation finds
lambda_min from above, which is enough to go by; what is proved is factorised later.
"""

from dataclasses import dataclass

import torch

from maskgap.solvers.bounds.low_rank.factor import Factor

FOUND = 8
"""Eigenvectors that are looked for."""


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
    own = y.to(factor.vectors.dtype)

    def times(x: torch.Tensor) -> torch.Tensor:
        inner = budgets.project(x)[:, :, None]
        out = costs.times(inner)
        cuts.pull(inner, 0.0, out)
        return budgets.project((out[:, :, 0]).addcmul_(own, inner[:, :, 0], value=-1.0))

    order = len(y)
    steps = min(steps, order - budgets.groups.count)
    draw = torch.Generator().manual_seed(order)
    start = torch.randn(tuple(own.shape), generator=draw, dtype=torch.float32).to(own)
    start = budgets.project(start)
    basis = own.new_zeros((steps, *own.shape))
    basis[0] = start / start.norm(dim=0).clamp_min(1e-30)
    inner = own.new_zeros((own.shape[1], steps, steps))
    for step in range(steps):
        image = times(basis[step])
        for _ in range(2):  # twice is enough (Parlett)
            against = torch.einsum("snb,nb->sb", basis[: step + 1], image)
            inner[:, : step + 1, step] += against.T
            image = image - torch.einsum("snb,sb->nb", basis[: step + 1], against)
        if step + 1 < steps:
            basis[step + 1] = image / image.norm(dim=0).clamp_min(1e-30)
    upper = torch.triu(inner).to(torch.float64)
    values, turn = torch.linalg.eigh(upper + torch.triu(upper, 1).transpose(1, 2))
    found = min(FOUND, steps)
    directions = torch.einsum("snb,bsk->nbk", basis, turn[:, :, :found].to(own.dtype))
    least = values[:, :found]
    bound = value + order * least[:, 0].clamp_max(0.0)
    return Slack(y, value, bound, least, directions)

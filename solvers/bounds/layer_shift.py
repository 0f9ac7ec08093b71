"""One diagonal d for all rows of a layer, with G - Diag(d) positive semidefinite.

For a row w with y = w * z, the loss is y^T G y, and on binary z

    y^T G y = y^T (G - Diag(d)) y + sum_j w_j^2 d_j z_j,

convex in z, so all rows share one matrix. In the units of a Gram R of unit diagonal, let lambda be
its least eigenvalue, at least 0. The common choice d = lambda (Hammer and Rubin, RAIRO 4, 1970) is
then moved by one proximal step of the layer's bound, which is concave in d: its derivative is
c_j = sum over rows of w_j^2 x_j (1 - x_j) at the relaxed x of each row, and

    maximise  c^T d - sum_j s_j (d_j - lambda)^2 / (2 REACH),   R - Diag(d) positive semidefinite,

where s_j = sum over rows of w_j^2 / 4 is the most that c_j can be. Where few rows are fractional
c_j is small beside s_j, and d_j goes down a little to let others rise. The maximiser is followed
along a log det barrier by damped Newton steps, each an inverse and a Cholesky factorisation of
order n; the diagonal of the inverse and its entrywise square are gradient and Hessian.
"""

import torch

from maskgap.solvers.protocol import Deadline

REACH = 0.3
"""Of 0.03, 0.1, 0.3 and 1, the best or within 1 % of it on real and on synthetic layers."""

BARRIER = 0.05
"""The first weight of log det; FALL: its ratio to the next."""

FALL = 0.2
GAP = 0.01
"""What is left of the rise in c^T d at the end, as a share of it."""

MOST_STEPS = 30
STEADY = 1e-3
"""By what share the estimate of the least eigenvalue may still fall when it is taken."""

SINGLE_LEAST = 1e-5
"""What is added to R before its factor is made in float32, for the rounding of that."""

LEAST = 1e-9
"""An eigenvalue of R below this counts as 0."""


def cholesky(matrix: torch.Tensor) -> torch.Tensor | None:
    """L with L L^T = matrix, or None where it is not positive definite."""
    lower, info = torch.linalg.cholesky_ex(matrix)
    pivots = lower.diagonal()  # some devices report no failure at the last pivot
    return lower if int(info) == 0 and bool((pivots > 0.0).all()) else None


def lowered(matrix: torch.Tensor, diagonal: torch.Tensor | float) -> torch.Tensor:
    """A copy of the matrix less a diagonal."""
    out = matrix.clone()
    out.diagonal().sub_(diagonal)
    return out


def least_eigenvalue(correlation: torch.Tensor, steps: int = 20) -> float:
    """A lower estimate of lambda_min(R), at least 0, shown by a factorisation.

    Inverse iteration estimates it from above; what is returned factorises.
    """
    n = len(correlation)
    single = correlation.to(torch.float32)  # an estimate; it is shown in full precision
    lower = cholesky(lowered(single, -SINGLE_LEAST))
    if lower is None:
        lower = cholesky(lowered(correlation, LEAST))
    if lower is None:
        return 0.0
    vector = torch.ones(n, dtype=lower.dtype, device=correlation.device)
    vector += torch.linspace(0.0, 0.5, n, dtype=vector.dtype, device=vector.device)
    least = torch.inf
    for _ in range(steps):
        vector = torch.cholesky_solve((vector / vector.norm())[:, None], lower)[:, 0]
        before, least = least, 1.0 / float(vector.norm())
        if before - least <= STEADY * least:
            break
    if lower.dtype == torch.float32:
        least -= SINGLE_LEAST
    if least <= LEAST:
        return 0.0
    for share in (0.99, 0.9, 0.5):
        if cholesky(lowered(correlation, share * least)) is not None:
            return share * least
    return 0.0


def proximal_shift(
    correlation: torch.Tensor,
    gain: torch.Tensor,
    most: torch.Tensor,
    least: float,
    deadline: Deadline,
) -> torch.Tensor | None:
    """The d (n,) of the module's docstring, strictly feasible; None where the arithmetic fails.

    correlation: R (n, n) float64 with unit diagonal. gain: c and most: s, (n,), at least 0. least:
    lambda. The deadline is looked at in each step and leaves the d so far.
    """
    scale = len(gain) / float(gain.sum().clamp_min(torch.finfo(gain.dtype).tiny))
    gain = gain * scale
    weight = (most + 0.01 * most.mean()) * scale / REACH
    d = torch.full_like(gain, least - BARRIER)
    lower = cholesky(lowered(correlation, d))
    barrier = BARRIER
    if lower is None:
        return None

    def merit(d: torch.Tensor, lower: torch.Tensor) -> float:
        rise = gain @ d - 0.5 * (weight @ (d - least) ** 2)
        return float(rise + 2.0 * barrier * lower.diagonal().log().sum())

    for _ in range(MOST_STEPS):
        if deadline.expired():
            break
        inverse = torch.cholesky_inverse(lower)
        pull = inverse.diagonal().clone()
        slope = gain - weight * (d - least)
        square = inverse.square_()
        step, size = _newton(square, weight, slope, pull, barrier)
        if size < 1.0:
            if barrier * len(d) < GAP * float(gain @ (d - least)):
                break
            barrier *= FALL
            step, size = _newton(square, weight, slope, pull, barrier)
        now, length, following = merit(d, lower), 1.0, None
        while following is None and length > 1e-4:
            following = cholesky(lowered(correlation, d + length * step))
            if following is not None and merit(d + length * step, following) < now:
                following = None
            length *= 0.5
        if following is None:
            break
        d, lower = d + 2.0 * length * step, following
    return d


def _newton(
    square: torch.Tensor,
    weight: torch.Tensor,
    slope: torch.Tensor,
    pull: torch.Tensor,
    barrier: float,
) -> tuple[torch.Tensor, float]:
    """A Newton step and its length in the norm of the Hessian; no step where that is singular."""
    lower = cholesky(lowered(square, -weight / barrier))
    right = slope / barrier - pull
    if lower is None:
        return torch.zeros_like(right), 0.0
    step = torch.cholesky_solve(right[:, None], lower)[:, 0]
    return step, float((right @ step).clamp_min(0.0).sqrt())

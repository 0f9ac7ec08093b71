"""Minimise y^T M y + sum_j w_j^2 d_j z_j, y = w * z, over the hull of legal z: many rows w, one M.

The alternating direction method of multipliers splits y from w * z (Boyd and others, Foundations
and Trends in Machine Learning 3, 2011, with over-relaxation):

    y = (2 M + 2 rho I)^-1 (2 rho (w * z - v) - w * d)          one product for all rows
    z = the point of the hull that brings w * z nearest to a y + (1 - a) w * z + v
    v = v + (a y + (1 - a) w * z) - w * z

All rows share the inverse. M has a diagonal near 1 and, for large layers, a few eigenvalues in the
hundreds, which do not slow it down as they do a gradient method.

Any y = w * x, near the minimiser or not, x in the hull or not, gives a bound by convexity:

    b(x) = - y^T M y + min over legal u of (2 w * (M y) + w^2 * d) . u,

and the method keeps each row's best. It is taken at the y of the first line, where M y is known as
well as the multiplier v is: after ten iterations that is within some percent of the end, where
w * z would give nothing yet, as its error is magnified by the large eigenvalues of M.
"""

from dataclasses import dataclass

import torch

from maskgap.instances.masks.groups import BudgetGroups
from maskgap.solvers.protocol import Deadline

RHO = 0.3
"""Of 0.1, 0.2, 0.3 and 0.4, the best after eight iterations from masks, on three real layers."""

RELAXED = 1.6
CHECK_EVERY = 10
NEWTON_STEPS = 32
NEAR = 1e-5
"""By how much a budget may be missed, as a share of it; looked at in every fourth step."""

FAR = 1e6
"""Entries of x at most: columns of tiny weight have y / w beyond."""

FLAT = 1e-6
"""Least curvature of a row's projection, relative to its mean: columns of weight 0 have none."""


@dataclass(frozen=True, eq=False)
class BatchPoint:
    """x: (rows, n), any numbers. bound: (rows,) of the linearisation at x. iterations: taken."""

    x: torch.Tensor
    bound: torch.Tensor
    iterations: int


@dataclass(frozen=True, eq=False, slots=True)
class Shared:
    """What all rows share, of one dtype.

    matrix: M (n, n). inverse: of 2 M + 2 RHO I. shift: d (n,); it enters F by itself, not by M.
    """

    matrix: torch.Tensor
    inverse: torch.Tensor
    shift: torch.Tensor


def linearise(
    shared: Shared, weight: torch.Tensor, groups: BudgetGroups, x: torch.Tensor
) -> tuple[torch.Tensor, torch.Tensor]:
    """F(x) and the bound b(x) of each row, (rows,) each. weight, x: (rows, n)."""
    product = weight * ((weight * x) @ shared.matrix)
    linear = weight.square() * shared.shift
    grouped = (2.0 * product + linear).reshape(len(x), groups.count, groups.size)
    lowest = torch.topk(grouped, groups.pruned, dim=-1, largest=False).values.sum(dim=(-1, -2))
    curved = (x * product).sum(dim=-1)
    return curved + (linear * x).sum(dim=-1), lowest - curved


def minimise(
    shared: Shared,
    weight: torch.Tensor,
    groups: BudgetGroups,
    deadline: Deadline,
    *,
    tolerance: float,
    iterations: int,
    start: torch.Tensor | None = None,
) -> BatchPoint:
    """The point of best bound of each row.

    weight: (rows, n), of the dtype of `shared`. tolerance: the gap of all rows together, relative
    to the value, at which it stops. iterations: at most. start: z (rows, n), such as the pruned
    columns of good masks; the middle of the hull if None.
    """
    middle = torch.full_like(weight, groups.pruned / groups.size)
    z = middle if start is None else start
    if groups.pruned in (0, groups.size) or not iterations:
        return BatchPoint(middle, linearise(shared, weight, groups, middle)[1], 0)
    best, bound = middle, torch.full_like(weight[:, 0], -torch.inf)
    steps = 0
    inner = torch.where(weight != 0.0, 1.0 / weight, torch.zeros_like(weight))
    curvature = weight.square()
    curvature = curvature.clamp_min(FLAT * float(curvature.mean()) + torch.finfo(z.dtype).tiny)
    multiplier = torch.zeros_like(z)
    level = torch.zeros(len(z), 1, groups.count, dtype=z.dtype, device=z.device)
    linear = weight * shared.shift
    for steps in range(1, iterations + 1):
        image = weight * z
        y = (2.0 * RHO * (image - multiplier) - linear) @ shared.inverse
        last = steps == iterations or deadline.expired()
        if last or steps % CHECK_EVERY == 0:
            x = (y * inner).clamp(-FAR, FAR)
            _, found = linearise(shared, weight, groups, x)
            better = found > bound
            best = torch.where(better[:, None], x, best)
            bound = torch.where(better, found, bound)
        if last:
            break
        multiplier += RELAXED * y + (1.0 - RELAXED) * image
        z, level = _nearest(weight * multiplier / curvature, 0.5 / curvature, level, groups)
        multiplier -= weight * z
        if steps % CHECK_EVERY == 0:
            value, _ = linearise(shared, weight, groups, z)
            gap = (value - bound).clamp_min(0.0).sum()
            if bool(gap <= tolerance * value.abs().sum()):
                break
    return BatchPoint(best, bound, steps)


def _nearest(
    centre: torch.Tensor, give: torch.Tensor, level: torch.Tensor, groups: BudgetGroups
) -> tuple[torch.Tensor, torch.Tensor]:
    """clip(centre - t give, 0, 1) with t set by each budget; its (rows, 1, groups) t.

    The sum falls piecewise linearly in t: Newton steps from the last t, kept in a bracket. A sum
    that is not exact costs tightness alone.
    """
    shape = (len(centre), groups.count, groups.size)
    # groups side by side: sums over short groups are then sums of long vectors
    a, b = (v.reshape(shape).transpose(1, 2).contiguous() for v in (centre, give))
    low = ((a - 1.0) / b).amin(dim=1, keepdim=True)
    high = (a / b).amax(dim=1, keepdim=True)
    t = torch.minimum(torch.maximum(level, low), high)
    for step in range(NEWTON_STEPS):
        raw = a - t * b
        over = raw.clamp(0.0, 1.0).sum(dim=1, keepdim=True) - groups.pruned
        if step % 4 == 3 and bool(over.abs().max() <= NEAR * groups.pruned):
            break
        low, high = torch.where(over > 0, t, low), torch.where(over > 0, high, t)
        slope = (b * ((raw > 0) & (raw < 1))).sum(dim=1, keepdim=True)
        ahead = t + over / slope
        t = torch.where((ahead >= low) & (ahead <= high), ahead, 0.5 * (low + high))
    return (a - t * b).clamp(0.0, 1.0).transpose(1, 2).reshape(centre.shape), t

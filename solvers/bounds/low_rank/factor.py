"""Vectors V of a batch of rows that minimise <C, V V^T> over unit vectors, by momentum steps.

Burer and Monteiro (Mathematical Programming 95, 2003) write Y = V V^T with V (n + 1, rank). A step
takes each vector to the minimiser of a bound of the objective that is separate in the vectors,

    v_i = (tau_i y_i - (C Y)_i) / | ... |,    Diag(tau) - C semidefinite,

as the mixing method does one by one (Wang and Kolter, arXiv 1706.00476), from points Y with
momentum, restarted for a row where it points uphill (O'Donoghue and Candes, Foundations of
Computational Mathematics 15, 2015). tau is proportional to the norms of the rows of C, by the
largest eigenvalue of C so scaled.
"""

import torch

from maskgap.solvers.bounds.low_rank.budgets import Budgets
from maskgap.solvers.bounds.low_rank.costs import Costs
from maskgap.solvers.bounds.low_rank.cuts import CutPool

POWER_STEPS = 15

ROOM = 1.1
"""tau is this many times what the power method says."""

SLOPE_SHARE = 0.2
"""How much of the curvature that slopes could bring is allowed for: few are active together."""


class Factor:
    """V (n + 1, rows, rank) of one dtype, with the costs, budgets and inequalities it is for."""

    def __init__(self, costs: Costs, budgets: Budgets, rank: int, seed: int) -> None:
        self.costs, self.budgets = costs, budgets
        n = len(costs.gram)
        draw = torch.Generator().manual_seed(seed)
        vectors = torch.randn((n + 1, costs.rows, rank), generator=draw, dtype=torch.float32)
        self.vectors = _unit(vectors.to(costs.gram))
        self.cuts = CutPool(costs.rows, costs.gram)
        self._draw = draw
        self.prepare()

    def gradient(self, vectors: torch.Tensor, slopes: torch.Tensor) -> torch.Tensor:
        """Half the gradient at vectors (n + 1, rows, rank). slopes: (m,) of the inequalities."""
        out = self.costs.times(vectors)
        self.budgets.add_to(out, vectors)
        self.cuts.pull(vectors, slopes, out)
        return out

    def prepare(self) -> None:
        """Set tau for what the multipliers and slope now are, and begin without momentum."""
        self.scale_steps()
        self._ahead, self._momentum = self.vectors, self.vectors.new_ones(self.costs.rows)

    def scale_steps(self) -> None:
        """Set tau for what the multipliers and slope now are."""
        costs, held = self.costs, self.cuts.no_slopes
        load = costs.length + self.budgets.lengths()
        if len(self.cuts):
            load = load + self.cuts.loads(len(load), SLOPE_SHARE)
        load = load.clamp_min(1e-6 * load.mean())
        scale = load.rsqrt()[:, :, None]
        x = torch.randn(scale.shape, generator=self._draw, dtype=torch.float32).to(scale)
        size = x.new_ones(x.shape[1:])
        for _ in range(POWER_STEPS):
            x = scale * self.gradient(scale * x, held)
            size = x.norm(dim=0)
            x = x / size.clamp_min(torch.finfo(x.dtype).tiny)
        self._tau = ROOM * size * load[:, :, None]

    def move_load(self) -> None:
        """Have the budgets' multipliers take the load of their penalties."""
        self.budgets.move_load(self.vectors)
        self.scale_steps()

    def run(self, steps: int) -> None:
        """Take some steps; momentum goes on from the last ones."""
        vectors, ahead, momentum = self.vectors, self._ahead, self._momentum
        slopes = self.cuts.slopes
        for _ in range(steps):
            following = _unit((self._tau * ahead).sub_(self.gradient(ahead, slopes)))
            move = following - vectors
            uphill = ((ahead - following) * move).sum(dim=(0, 2)) > 0.0
            momentum = torch.where(uphill, torch.ones_like(momentum), momentum)
            grown = 0.5 * (1.0 + (1.0 + 4.0 * momentum.square()).sqrt())
            share = (momentum - 1.0) / grown
            ahead = torch.addcmul(following, share[None, :, None], move)
            vectors, momentum = following, grown
        self.vectors, self._ahead, self._momentum = vectors, ahead, momentum

    def multipliers(self) -> torch.Tensor:
        """The y that V stands for, (n + 1, rows) float64.

        At a minimiser Diag(y) V is half the gradient, all other multipliers included.
        """
        gradient = self.gradient(self.vectors, self.cuts.no_slopes)
        return (gradient.to(torch.float64) * self.vectors).sum(dim=2)

    def resize(self, rank: int, share: float = 0.01) -> None:
        """Give V another rank: its largest directions, and small random ones where it grows."""
        vectors = self._by_size()
        n, rows, before = vectors.shape
        if rank > before:
            more = torch.randn((n, rows, rank - before), generator=self._draw, dtype=torch.float32)
            vectors = torch.cat([share * more.to(vectors), vectors], dim=2)
        self.vectors = _unit(vectors[:, :, -rank:].contiguous())
        self.prepare()

    def inject(self, directions: torch.Tensor, amounts: torch.Tensor) -> None:
        """Put directions (n + 1, rows, k) of some amounts (rows, k) in place of the least of V.

        amounts: their norms. Along an eigenvector of the slack of a negative eigenvalue the
        objective falls, and V finds the way there only slowly by itself.
        """
        vectors = self._by_size()
        count = min(directions.shape[2], vectors.shape[2] // 2)
        chosen = (amounts[:, :count] > 0.0)[None]
        vectors[:, :, :count] = torch.where(
            chosen, directions[:, :, :count] * amounts[None, :, :count], vectors[:, :, :count]
        )
        self.vectors = _unit(vectors)
        self._ahead, self._momentum = self.vectors, torch.ones_like(self._momentum)

    def _by_size(self) -> torch.Tensor:
        """V turned so that its columns are orthogonal, the smallest first: V V^T is the same."""
        exact = self.vectors.to(torch.float64)
        inner = torch.einsum("nbr,nbs->brs", exact, exact)
        _, turn = torch.linalg.eigh(inner)
        turned = torch.einsum("nbr,brs->nbs", exact, turn)
        return turned.to(self.vectors.dtype).contiguous()


def _unit(vectors: torch.Tensor) -> torch.Tensor:
    """The vectors made of length 1, in place."""
    return vectors.div_(vectors.norm(dim=2, keepdim=True).clamp_min(1e-30))

"""Tabu walks with kicks for many rows in step, in torch, for devices other than the processor.

The rule is that of `memetic.tabu` and `memetic.kicks`, all rows of a batch together, with
h = G (w * z) in the place of c, so that rows share G:

    a_p = w_p^2 G_pp - 2 w_p h_p,   b_u = w_u^2 G_uu + 2 w_u h_u,
    change: a_p + b_u - 2 w_p w_u G_pu,   h <- h + w_u G_u - w_p G_p.

Walks have one length, PATIENCE swaps after a kick, so that no step asks the device for a number. A
round is a kick and a walk of every row, and begins with h of the kicked masks as one product of
matrices, which also ends rounding. A row keeps its best mask, and goes on from it. Steps are in
float32, without TF32; the masks are compared with their starts in float64, and descend from there
by `one_swap.batch`, so the loss of an answer is never above that of its start.
"""

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

PATIENCE = 100
"""Swaps of a walk after a kick."""

FIRST = 1000
"""Swaps of the first walk: the descent, and what it finds beyond."""

LOOK = 1 << 29
"""Swaps of all rows between two looks at the clock, times n: tens of milliseconds on a card."""

TENURE = 10
KICK = 30
GAIN = 1e-6
"""As `memetic.tabu` and `memetic.kicks` have them; a gain is one beyond the rounding of float32."""

BARRED = 1e30

ROW_VECTORS = 40
"""Vectors of n float32 that a row takes, about."""


@dataclass(eq=False)
class Walks:
    """Rows under search on one device; tensors of (rows, n) unless said otherwise.

    gram: (n, n) float32. weight, square: w, w^2 G_jj, float32. groups: how many, of equal size.
    pruned: where the walks stand; field: h there; loss: (rows,) there. until: step before which a
    column may not move. best, least: the best mask of each row, and its loss (rows,). touched:
    columns that moved. step: swaps made.
    """

    gram: Tensor
    weight: Tensor
    square: Tensor
    groups: int
    random: torch.Generator
    best: Tensor

    def __post_init__(self) -> None:
        """Stand at the best masks, which are those of the start."""
        self.step = 0
        self.until = torch.zeros_like(self.weight, dtype=torch.int32)
        self.touched = torch.zeros_like(self.best)
        self.pruned = self.best.clone()
        self._stand()
        self.least = self.loss.clone()

    def _stand(self) -> None:
        """Sum h and the losses afresh; all columns are free."""
        image = self.weight * self.pruned
        self.field = image @ self.gram
        self.loss = (image * self.field).sum(dim=1)
        self.until.fill_(self.step)

    def walk(self, swaps: int) -> None:
        """That many swaps of every row; rows without a free pair rest. Nothing is waited for."""
        rows, n = self.weight.shape
        size, row = n // self.groups, torch.arange(rows, device=self.weight.device)
        for _ in range(swaps):
            free = self.until <= self.step
            cross = 2.0 * self.weight * self.field
            drop = (self.square - cross).masked_fill_(~(self.pruned & free), BARRED)
            take = (self.square + cross).masked_fill_(self.pruned | ~free, BARRED)
            drop, take = (
                drop.view(rows, self.groups, size),
                take.view(rows, self.groups, size),
            )
            a, p = drop.min(dim=2)
            group = (a + take.amin(dim=2)).argmin(dim=1)
            p = p[row, group] + group * size
            a = a[row, group]
            own = self.weight[row, p]
            away = self.gram[p]
            columns = (group * size)[:, None] + torch.arange(size, device=row.device)
            pairs = 2.0 * own[:, None] * self.weight.gather(1, columns) * away.gather(1, columns)
            b, u = (take[row, group] - pairs).min(dim=1)
            u = u + group * size
            goes = (a < 0.5 * BARRED) & (b < 0.5 * BARRED)
            come = self.gram[u] * (self.weight[row, u] * goes)[:, None]
            self.field += come - away * (own * goes)[:, None]
            self.loss += torch.where(goes, a + b, 0.0)
            self.pruned[row, p] &= ~goes
            self.pruned[row, u] |= goes
            self.step += 1
            rest = torch.randint(
                TENURE, (2, rows), generator=self.random, device=row.device, dtype=torch.int32
            )
            for column, wait in zip((p, u), rest, strict=True):
                self.until[row, column] = self.step + wait
                self.touched[row, column] = True
            lower = self.loss < self.least - GAIN * self.least.abs()
            self.least = torch.where(lower, self.loss, self.least)
            self.best = torch.where(lower[:, None], self.pruned, self.best)

    def kick(self) -> None:
        """Stand at each row's best mask after up to KICK random swaps of columns it has touched."""
        rows, n = self.weight.shape
        size = n // self.groups
        device = self.weight.device
        count = torch.randint(2, KICK + 1, (rows, 1), generator=self.random, device=device)
        chance = torch.rand(rows, n, generator=self.random, device=device)
        if self.groups == 1:
            most = min(KICK, n)
            self.pruned = self.best.clone()
            places = [
                torch.where(side & self.touched, chance, -1.0).topk(most, dim=1)
                for side in (self.best, ~self.best)
            ]
            both = (places[0].values >= 0) & (places[1].values >= 0)
            both &= torch.arange(most, device=device) < count
            self._set(places[0].indices, both, False)
            self._set(places[1].indices, both, True)
        else:
            best = self.best.view(rows, self.groups, size)
            chance = chance.view(rows, self.groups, size)
            start = torch.arange(self.groups, device=device) * size
            p = torch.where(best, chance, -1.0).argmax(dim=2) + start
            u = torch.where(best, -1.0, chance).argmax(dim=2) + start
            live = self.touched.view(rows, self.groups, size).any(dim=2)
            order = torch.rand(rows, self.groups, generator=self.random, device=device)
            most = min(KICK, self.groups)
            chosen = torch.where(live, order, -1.0).topk(most, dim=1)
            both = (chosen.values >= 0) & (torch.arange(most, device=device) < count)
            self.pruned = self.best.clone()
            self._set(p.gather(1, chosen.indices), both, False)
            self._set(u.gather(1, chosen.indices), both, True)
        self._stand()

    def _set(self, columns: Tensor, where: Tensor, value: bool) -> None:
        """Set some columns of each row, where told."""
        before = self.pruned.gather(1, columns)
        self.pruned.scatter_(1, columns, before & ~where | where & value)


def walked(
    walks: Walks, rounds: int, most: int, expired: Callable[[], bool]
) -> tuple[Tensor, int, bool]:
    """(best masks (rows, n) bool, True = pruned; swaps a row; whether all rounds were made).

    rounds: kicks, each with its walk. most: swaps a row at most, -1 for no limit. expired: asked
    between walks, where the device is waited for.
    """
    left = FIRST + rounds * PATIENCE if most < 0 else min(most, FIRST + rounds * PATIENCE)
    due, look = FIRST, max(1, LOOK // walks.weight.numel())
    while left > 0 and not expired():
        if due == 0:
            walks.kick()
            due = PATIENCE
        ahead = min(due, left, look)
        walks.walk(ahead)
        due, left = due - ahead, left - ahead
        walks.least[:1].tolist()  # a look at the clock is of work that is done
    return walks.best, walks.step, walks.step == FIRST + rounds * PATIENCE


def lower_of(weight: Tensor, gram: Tensor, one: Tensor, other: Tensor) -> Tensor:
    """(rows, n): of two masks of each row that of lower loss, in float64; `one` where they tie.

    weight: (rows, n), gram: (n, n) float64. one, other: True = pruned.
    """

    def loss(pruned: Tensor) -> Tensor:
        image = weight * pruned
        return ((image @ gram) * image).sum(dim=1)

    return torch.where((loss(other) < loss(one))[:, None], other, one)

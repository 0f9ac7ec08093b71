"""The best 1-swap of many rows at once, by the method of SparseSwaps (arXiv 2512.10922).

With z = 1 on pruned columns and c = G (w * z), exchanging a pruned p for a kept u of the same
budget group changes the loss z^T diag(w) G diag(w) z by

    delta(p, u) = a_p + (b_u - 2 w_p w_u G_pu),
    a_p = -2 w_p c_p + w_p^2 G_pp,     b_u = 2 w_u c_u + w_u^2 G_uu,
    c <- c + w_u G[:, u] - w_p G[:, p].

Per pruned column the bracket is minimised over whole rows of G (b = infinity on pruned columns):
streaming twice as many numbers is faster than gathering the kept ones. Then the best p is taken,
and u is found in its row. A step of one row costs pruned * group size products and n for c.

Pairs are formed in tiles of about `tile` numbers; a rows x n x n tensor never exists. All is
float64 and elementwise, products and sums apart, so that no fused or blocked arithmetic makes a
row's bits depend on the batch, the tile or the number of threads, and TF32 has nothing to touch.
Ties go to the lowest pruned column, then to the lowest kept one.
"""

from dataclasses import dataclass

import torch

REFRESH_SWAPS = 64
"""Swaps of a row after which c is summed afresh, so that rounding does not add up."""

IMPROVEMENT = 1e-12
"""A swap must lower the loss by this share of the row's sum of w_j^2 G_jj over pruned columns.

Below it, exact ties (duplicate columns) are decided by rounding and a search could go in circles.
"""

SUMMED_TOGETHER = 32
"""Columns added pairwise when c is summed; fixed, as the order of a sum decides its last bits."""


@dataclass(eq=False)
class Rows:
    """Rows under search, all with the same budgets.

    weight: (rows, n) float64. gram: (n, n) float64. blocks: (n, size), G between each column and
    the columns of its group. mask: (rows, n) bool, True = kept. pruned: (rows, groups, count)
    column indices; a swap may put them out of order within a group. correlation: (rows, n), c.
    threshold: (rows,), the change, at most 0, that a swap must lie below.
    """

    weight: torch.Tensor
    gram: torch.Tensor
    blocks: torch.Tensor
    mask: torch.Tensor
    pruned: torch.Tensor
    correlation: torch.Tensor
    threshold: torch.Tensor

    @staticmethod
    def of(
        weight: torch.Tensor, gram: torch.Tensor, mask: torch.Tensor, size: int, tile: int
    ) -> "Rows":
        """Start from a legal mask for groups of `size` consecutive columns."""
        count, n = weight.shape
        groups = n // size
        blocks = gram.view(groups, size, groups, size).diagonal(dim1=0, dim2=2)
        rows = Rows(
            weight,
            gram,
            blocks.permute(2, 0, 1).reshape(n, size),
            mask.clone(),
            (~mask).nonzero()[:, 1].view(count, groups, -1),
            torch.zeros_like(weight),
            torch.zeros_like(weight[:, 0]),
        )
        rows.refresh(tile)
        return rows

    def __len__(self) -> int:
        return len(self.weight)

    def take(self, index: torch.Tensor) -> "Rows":
        """A copy of the rows of an index tensor, as rows of their own."""
        return Rows(
            self.weight[index],
            self.gram,
            self.blocks,
            self.mask[index],
            self.pruned[index],
            self.correlation[index],
            self.threshold[index],
        )

    def refresh(self, tile: int) -> None:
        """Sum c = G (w * z) afresh from the mask alone, and with it the threshold."""
        columns = self.pruned.flatten(1).sort(dim=1).values
        factors = self.weight.gather(1, columns)[:, :, None]
        self.correlation.zero_()
        height = max(1, tile // (SUMMED_TOGETHER * self.weight.shape[1]))
        for top in range(0, len(self), height):
            rows = slice(top, top + height)
            for first in range(0, columns.shape[1], SUMMED_TOGETHER):
                part = slice(first, first + SUMMED_TOGETHER)
                terms = self.gram[columns[rows, part]].mul_(factors[rows, part])
                left = terms.shape[1]
                while left > 1:
                    half = left // 2
                    terms[:, :half].add_(terms[:, left - half : left])
                    left -= half
                self.correlation[rows].add_(terms[:, 0])
        diagonal = self.weight**2 * self.gram.diagonal()
        self.threshold = -IMPROVEMENT * diagonal.masked_fill(self.mask, 0.0).sum(dim=1)

    def losses(self) -> torch.Tensor:
        """(rows,) losses as (w * z) . c, with the drift of c since it was last summed."""
        return (self.weight * self.correlation).masked_fill(self.mask, 0.0).sum(dim=1)

    def best_swaps(self, tile: int) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
        """(change of the loss, pruned column, kept column) of the best pair of each row.

        Needs at least one pruned and one kept column a group.
        """
        count, groups, pruned = self.pruned.shape
        n, size = self.blocks.shape
        square = self.weight**2 * self.gram.diagonal()
        cross = 2.0 * self.weight * self.correlation
        b = (square + cross).masked_fill_(~self.mask, torch.inf).view(count, groups, 1, size)
        w = self.weight.view(count, groups, 1, size)
        columns = self.pruned.flatten(1)
        shape = self.pruned.shape
        change = (square - cross).gather(1, columns).view(shape)
        w_p = self.weight.gather(1, columns).mul_(-2.0).view(*shape, 1)
        height = min(count, max(1, tile // n))
        width = min(pruned, max(1, tile // (height * n)))
        buffer = self.gram.new_empty(height * groups * width, size)
        for top in range(0, count, height):
            rows = slice(top, top + height)
            for first in range(0, pruned, width):
                part = slice(first, first + width)
                p = self.pruned[rows, :, part]
                pairs = buffer[: p.numel()]
                torch.index_select(self.blocks, 0, p.flatten(), out=pairs)
                pairs = pairs.view(*p.shape, size)
                pairs.mul_(w[rows]).mul_(w_p[rows, :, part]).add_(b[rows])
                change[rows, :, part] += pairs.amin(dim=3)
        change = change.flatten(1)
        best = change.amin(dim=1)
        # the list is not in order, so the lowest column among equals is asked for
        p = columns.masked_fill(change > best[:, None], n).amin(dim=1)
        row, group = torch.arange(count, device=p.device), p // size
        pairs = self.blocks[p].mul_(w[row, group, 0]).mul_(-2.0 * self.weight[row, p][:, None])
        inside = pairs.add_(b[row, group, 0]).argmin(dim=1)  # the first of equals
        return best, p, group * size + inside

    def swap(self, p: torch.Tensor, u: torch.Tensor) -> None:
        """Keep column p and prune column u of every row."""
        p, u = p[:, None], u[:, None]
        self.correlation += self.weight.gather(1, u) * self.gram[u[:, 0]]
        self.correlation -= self.weight.gather(1, p) * self.gram[p[:, 0]]
        self.mask.scatter_(1, p, True).scatter_(1, u, False)
        self.pruned = torch.where(self.pruned == p[:, :, None], u[:, :, None], self.pruned)

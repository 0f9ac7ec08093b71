"""The best 1-swap of many rows at once, by the method of SparseSwaps (arXiv 2512.10922).

With z = 1 on pruned columns and c = G (w * z), exchanging a pruned p for a kept u of the same
budget group changes the loss z^T diag(w) G diag(w) z by

    delta(p, u) = a_p + b_u - 2 w_p w_u G_pu,
    a_p = -2 w_p c_p + w_p^2 G_pp,     b_u = 2 w_u c_u + w_u^2 G_uu,
    c <- c + w_u G[:, u] - w_p G[:, p].

All rows of a batch have as many pruned and kept columns per group, so their indices form tensors
(rows, groups, pruned) and (rows, groups, kept), in ascending order. Pairs are formed in tiles of at
most `tile_elements` numbers; a rows x n x n tensor never exists. A step of one row looks at
pruned * kept pairs per group and updates c in n products.

Everything is float64 and elementwise, sums included (c is summed column by column), so a row gives
the same bits in any batch and on any number of threads, and TF32 has no product to touch. Ties go
to the lowest pruned column, then to the lowest kept one.
"""

from dataclasses import dataclass

import torch

REFRESH_SWAPS = 64
"""Swaps of a row after which c is summed afresh, so that rounding does not add up."""

IMPROVEMENT = 1e-12
"""A swap must lower the loss by this share of the row's sum of w_j^2 G_jj over pruned columns.

Below it, exact ties (duplicate columns) are decided by rounding and a search could go in circles.
"""


@dataclass(eq=False)
class Rows:
    """Rows under search. weight: (rows, n); pruned, kept: column indices (rows, groups, count)."""

    weight: torch.Tensor
    gram: torch.Tensor
    pruned: torch.Tensor
    kept: torch.Tensor
    correlation: torch.Tensor
    threshold: torch.Tensor

    @staticmethod
    def of(weight: torch.Tensor, gram: torch.Tensor, mask: torch.Tensor, size: int) -> "Rows":
        """weight: (rows, n) float64; gram: (n, n) float64; mask: (rows, n) bool, True = kept."""
        count, n = weight.shape
        grouped = mask.view(count, n // size, size)
        # A stable sort of the flags lists pruned columns first, each part in ascending order.
        order = torch.argsort(grouped.to(torch.int8), dim=2, stable=True)
        order = order + torch.arange(0, n, size, device=order.device)[None, :, None]
        pruned_per_group = size - int(grouped[0, 0].sum())
        pruned, kept = order[:, :, :pruned_per_group], order[:, :, pruned_per_group:]
        diagonal = weight**2 * gram.diagonal()
        scale = torch.where(mask, 0.0, diagonal).sum(dim=1)
        rows = Rows(weight, gram, pruned, kept, torch.zeros_like(weight), -IMPROVEMENT * scale)
        rows.refresh()
        return rows

    def __len__(self) -> int:
        return len(self.weight)

    def refresh(self) -> None:
        """Sum c = G (w * z) afresh, column by column."""
        columns = self.pruned.flatten(1)
        self.correlation = torch.zeros_like(self.weight)
        for j in range(columns.shape[1]):
            column = columns[:, j]
            factor = self.weight.gather(1, column[:, None])
            self.correlation.addcmul_(factor, self.gram[column])

    def losses(self) -> torch.Tensor:
        """(rows,) losses as (w * z) . c."""
        columns = self.pruned.flatten(1)
        return (self.weight.gather(1, columns) * self.correlation.gather(1, columns)).sum(dim=1)

    def masks(self) -> torch.Tensor:
        """(rows, n) bool, True = kept."""
        mask = torch.ones_like(self.weight, dtype=torch.bool)
        return mask.scatter_(1, self.pruned.flatten(1), False)

    def take(self, index: torch.Tensor) -> "Rows":
        """The rows of an index tensor, as rows of their own."""
        return Rows(
            self.weight[index],
            self.gram,
            self.pruned[index],
            self.kept[index],
            self.correlation[index],
            self.threshold[index],
        )

    def _one_index(self) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor, torch.Tensor]:
        """a, b and the weights of pruned and kept columns, in the shapes of their indices."""
        diagonal = self.gram.diagonal()
        square = self.weight**2 * diagonal
        cross = 2.0 * self.weight * self.correlation
        shape_p, shape_u = self.pruned.shape, self.kept.shape
        p, u = self.pruned.flatten(1), self.kept.flatten(1)
        return (
            (square - cross).gather(1, p).view(shape_p),
            (square + cross).gather(1, u).view(shape_u),
            self.weight.gather(1, p).view(shape_p),
            self.weight.gather(1, u).view(shape_u),
        )

    def best_swaps(self, tile_elements: int) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
        """(delta, position in pruned, position in kept) of the best pair of each row.

        Positions count through groups and places: group * count + place.
        """
        a, b, w_p, w_u = self._one_index()
        count, groups, pruned = self.pruned.shape
        kept = self.kept.shape[2]
        best = torch.full((count,), torch.inf, dtype=self.weight.dtype, device=self.weight.device)
        at_p, at_u = (torch.zeros_like(best, dtype=torch.long) for _ in range(2))
        height = max(1, min(pruned, tile_elements // max(1, count * groups * kept)))
        for top in range(0, pruned, height):
            part = slice(top, min(top + height, pruned))
            delta = self.gram[self.pruned[:, :, part, None], self.kept[:, :, None, :]]
            delta.mul_(-2.0 * w_p[:, :, part, None]).mul_(w_u[:, :, None, :])
            delta.add_(a[:, :, part, None]).add_(b[:, :, None, :])
            pairs = delta.flatten(1)
            place = torch.argmin(pairs, dim=1)  # documented to be the first of ties
            value = pairs.gather(1, place[:, None])[:, 0]
            tall = part.stop - part.start
            group, inside = place // (tall * kept), place % (tall * kept)
            # tiles of one group come in order of p; across groups the lower pruned column wins
            p = group * pruned + top + inside // kept
            better = (value < best) | ((value == best) & (p < at_p))
            best = torch.where(better, value, best)
            at_p = torch.where(better, p, at_p)
            at_u = torch.where(better, group * kept + inside % kept, at_u)
        return best, at_p, at_u

    def swap(self, at_p: torch.Tensor, at_u: torch.Tensor) -> None:
        """Exchange one pair in every row, given by positions as `best_swaps` returns them."""
        flat_p, flat_u = self.pruned.flatten(1), self.kept.flatten(1)
        p, u = flat_p.gather(1, at_p[:, None]), flat_u.gather(1, at_u[:, None])
        self.correlation.addcmul_(self.weight.gather(1, u), self.gram[u[:, 0]])
        self.correlation.addcmul_(self.weight.gather(1, p), self.gram[p[:, 0]], value=-1.0)
        self.pruned = flat_p.scatter(1, at_p[:, None], u).view(self.pruned.shape)
        self.kept = flat_u.scatter(1, at_u[:, None], p).view(self.kept.shape)
        self.pruned, self.kept = self.pruned.sort(dim=2).values, self.kept.sort(dim=2).values

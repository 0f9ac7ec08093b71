"""The best 1-swap of many rows at once in torch, for devices other than the processor.

The rule is that of `solvers.local_search.one_swap.rule`, the idea of
`solvers.local_search.one_swap.compiled`: with the bound delta(p, .) >= a_p + e(2 |w_p| rho_p) only
few columns p are looked at. Here the lower envelope e(t) = min over kept u of b_u - t r_u is
replaced by one line for each of `BINS` ranges of r, its height the least b in the range and its
slope the range's upper end: a little lower, and the same work in every row. A step costs BINS * n a
row for the bounds and the group size for each column looked at; G is shared by all rows, and a rows
* n * n tensor never exists.

Three functions do the work: `sum_afresh`, `bounds`, `least`. Those below are plain torch and define
what is meant; on CUDA the ones of `solvers.local_search.one_swap.fused` do the same in one pass
each. Everything is elementwise float64, so TF32 has nothing to touch and a row's bits depend
neither on the batch nor on the device.
"""

from dataclasses import dataclass, replace
from typing import Protocol

import torch
from torch import Tensor

from maskgap.solvers.local_search.one_swap import rule
from maskgap.solvers.local_search.one_swap.block import Tables
from maskgap.solvers.local_search.one_swap.compiled import ROUNDING, SMALL_GROUP

BINS = 128
"""Ranges of r, each 2^(1/BINS_PER_OCTAVE) wide, from the largest of the row downward."""

BINS_PER_OCTAVE = 8


class Kernels(Protocol):
    """What a step is made of. All tensors are float64 unless said otherwise."""

    def sum_afresh(self, pruned_weight: Tensor, gram: Tensor) -> Tensor:
        """(rows, n), c: the sum over p of pruned_weight[:, p] gram[p], p ascending."""
        ...

    def bounds(self, reach: Tensor, heights: Tensor, slopes: Tensor) -> Tensor:
        """(rows, groups, size): min over bins of heights - reach * slopes.

        reach: (rows, groups, size). heights: (rows, groups, bins). slopes: (rows, bins).
        """
        ...

    def least(
        self, row: Tensor, p: Tensor, weight: Tensor, b: Tensor, blocks: Tensor, *, tile: int
    ) -> Tensor:
        """(items,): min over the group of p of b_u - 2 w_p w_u G_pu, for pairs of row and p.

        row, p: (items,) int64. weight, b: (rows, n). blocks: (n, size). tile: numbers at once.
        """
        ...


class Plain:
    """The kernels in plain torch."""

    def sum_afresh(self, pruned_weight: Tensor, gram: Tensor) -> Tensor:
        """See `Kernels`."""
        total = torch.zeros_like(pruned_weight)
        for p in range(len(gram)):
            total += pruned_weight[:, p, None] * gram[p]
        return total

    def bounds(self, reach: Tensor, heights: Tensor, slopes: Tensor) -> Tensor:
        """See `Kernels`."""
        result = torch.full_like(reach, torch.inf)
        for line in range(heights.shape[2]):
            slope = slopes[:, line, None, None]
            result = torch.minimum(result, heights[:, :, line, None] - reach * slope)
        return result

    def least(
        self, row: Tensor, p: Tensor, weight: Tensor, b: Tensor, blocks: Tensor, *, tile: int
    ) -> Tensor:
        """See `Kernels`."""
        size = blocks.shape[1]
        groups = weight.shape[1] // size
        weights, heights = weight.view(-1, size), b.view(-1, size)
        result = weight.new_empty(len(p))
        at_once = max(1, tile // size)
        for first in range(0, len(p), at_once):
            part = slice(first, first + at_once)
            place = row[part] * groups + p[part] // size
            pairs = blocks[p[part]]
            pairs.mul_(weights[place])
            pairs.mul_((-2.0 * weight[row[part], p[part]])[:, None]).add_(heights[place])
            result[part] = pairs.amin(dim=1)
        return result


@dataclass(frozen=True, eq=False)
class Shared:
    """What all rows of a layer share: see `one_swap.block.Tables`, as tensors."""

    gram: Tensor
    blocks: Tensor
    diagonal: Tensor
    norms: Tensor
    reach: Tensor

    @staticmethod
    def of(tables: Tables, device: torch.device) -> "Shared":
        """The tables on a device."""
        gram, *rest = (
            torch.from_numpy(array).to(device)
            for array in (tables.gram, tables.diagonal, tables.norms, tables.reach)
        )
        whole = tables.blocks is tables.gram
        return Shared(gram, gram if whole else torch.from_numpy(tables.blocks).to(device), *rest)


@dataclass(frozen=True, eq=False)
class Rows:
    """Rows under search, all with the same budgets; `swap` and `refresh` change them in place.

    weight: (rows, n) float64. mask: (rows, n) bool, True = kept. correlation: (rows, n), c.
    threshold: (rows,), the change, at most 0, that a swap must lie below. square: (rows, n),
    w^2 G_jj. bins: (rows, n) int64, the range of each column's r, counted within its group.
    slopes: (rows, BINS), upper ends of the ranges.
    """

    shared: Shared
    kernels: Kernels
    weight: Tensor
    mask: Tensor
    correlation: Tensor
    threshold: Tensor
    square: Tensor
    bins: Tensor
    slopes: Tensor

    @staticmethod
    def of(shared: Shared, kernels: Kernels, weight: Tensor, mask: Tensor) -> "Rows":
        """Start from a legal mask."""
        n, size = shared.blocks.shape
        r = weight.abs() * shared.norms
        top = r.amax(dim=1, keepdim=True)
        step = torch.arange(BINS, device=weight.device) / BINS_PER_OCTAVE
        slopes = top * torch.exp2(-step) * (1 + 1e-12)
        # floor of the octaves below the largest; the last range takes all that is smaller
        depth = (torch.log2(top / r) * BINS_PER_OCTAVE).nan_to_num(0.0, posinf=BINS)
        bins = (depth - 1e-6).clamp(0, BINS - 1).floor().long()
        group = torch.arange(n, device=weight.device) // size
        rows = Rows(
            shared,
            kernels,
            weight,
            mask.clone(),
            torch.zeros_like(weight),
            torch.zeros_like(weight[:, 0]),
            weight**2 * shared.diagonal,
            bins + group * BINS,
            slopes,
        )
        rows.refresh()
        return rows

    def __len__(self) -> int:
        return len(self.weight)

    def take(self, index: Tensor) -> "Rows":
        """A copy of the rows of an index tensor, as rows of their own."""
        return replace(
            self,
            **{
                name: getattr(self, name)[index]
                for name in (
                    "weight",
                    "mask",
                    "correlation",
                    "threshold",
                    "square",
                    "bins",
                    "slopes",
                )
            },
        )

    def refresh(self) -> None:
        """Sum c = G (w * z) afresh from the mask alone, and with it the threshold."""
        pruned_weight = self.weight.masked_fill(self.mask, 0.0)
        self.correlation.copy_(self.kernels.sum_afresh(pruned_weight, self.shared.gram))
        scale = self.square.masked_fill(self.mask, 0.0).sum(dim=1)
        self.threshold.copy_(-rule.IMPROVEMENT * scale)

    def losses(self) -> Tensor:
        """(rows,) losses as (w * z) . c, with the drift of c since it was last summed."""
        return (self.weight * self.correlation).masked_fill(self.mask, 0.0).sum(dim=1)

    def best_swaps(self, tile: int) -> tuple[Tensor, Tensor, Tensor]:
        """(change of the loss, pruned column, kept column) of the best pair of each row.

        Needs at least one pruned and one kept column a group. tile: numbers formed at once.
        """
        count, n = self.weight.shape
        size = self.shared.blocks.shape[1]
        cross = 2.0 * self.weight * self.correlation
        a = (self.square - cross).masked_fill_(self.mask, torch.inf)
        b = (self.square + cross).masked_fill_(~self.mask, torch.inf)
        if size < SMALL_GROUP:
            row, p = (~self.mask).nonzero(as_tuple=True)
            best, at = self._least_of(row, p, a, b, tile)
        else:
            largest = (self.square + cross.abs()).amax(dim=1)
            del cross
            lower = self._bounds(a, b)
            lower -= (ROUNDING * (n + 16) * largest)[:, None]
            row = torch.arange(count, device=a.device)
            best, _ = self._least_of(row, lower.argmin(dim=1), a, b, tile)
            row, p = (lower <= best[:, None]).nonzero(as_tuple=True)
            del lower
            best, at = self._least_of(row, p, a, b, tile)
        row = torch.arange(count, device=a.device)
        group = at // size
        pairs = self.shared.blocks[at].mul_(self.weight.view(count, -1, size)[row, group])
        pairs.mul_((-2.0 * self.weight[row, at])[:, None])
        inside = pairs.add_(b.view(count, -1, size)[row, group]).argmin(dim=1)  # first of equals
        return best, at, group * size + inside

    def _bounds(self, a: Tensor, b: Tensor) -> Tensor:
        """(rows, n) lower bounds of delta(p, .), up to rounding; infinite on kept columns."""
        count, n = a.shape
        size = self.shared.blocks.shape[1]
        groups = n // size
        heights = a.new_full((count, groups * BINS), torch.inf)
        heights.scatter_reduce_(1, self.bins, b, "amin")
        reach = 2.0 * self.weight.abs() * self.shared.reach
        heights = heights.view(count, groups, BINS)
        lower = self.kernels.bounds(reach.view(count, groups, size), heights, self.slopes)
        return lower.view(count, n).add_(a)

    def _least_of(
        self, row: Tensor, p: Tensor, a: Tensor, b: Tensor, tile: int
    ) -> tuple[Tensor, Tensor]:
        """Least change of each row among some of its pruned columns, and the lowest such column."""
        count, n = a.shape
        change = self.kernels.least(row, p, self.weight, b, self.shared.blocks, tile=tile)
        change += a[row, p]
        best = a.new_full((count,), torch.inf).scatter_reduce_(0, row, change, "amin")
        columns = p.masked_fill(change > best[row], n)
        at = p.new_full((count,), n).scatter_reduce_(0, row, columns, "amin")
        return best, at

    def swap(self, p: Tensor, u: Tensor) -> None:
        """Keep column p and prune column u of every row."""
        at_p, at_u = p[:, None], u[:, None]
        self.correlation.add_(self.weight.gather(1, at_u) * self.shared.gram[u])
        self.correlation.sub_(self.weight.gather(1, at_p) * self.shared.gram[p])
        self.mask.scatter_(1, at_p, True).scatter_(1, at_u, False)

"""The kernels of `one_swap.tensors`, each in one pass, in Triton for CUDA devices.

They do the operations of the plain ones in the same order, in float64 and without fused
multiply-adds (`enable_fp_fusion=False`), so the bits are the same.
"""

import torch
import triton
import triton.language as tl
from torch import Tensor

from maskgap.solvers.local_search.one_swap.compiled import SMALL_GROUP
from maskgap.solvers.local_search.one_swap.tensors import Plain

ROWS = 16
COLUMNS = 64
BLOCK = 512


@triton.jit  # type: ignore[untyped-decorator]
def _sum_afresh(by_column, gram, total, rows, n, ROWS: tl.constexpr, COLUMNS: tl.constexpr):  # type: ignore[no-untyped-def]
    r = tl.program_id(1) * ROWS + tl.arange(0, ROWS)
    j = tl.program_id(0) * COLUMNS + tl.arange(0, COLUMNS)
    inside_r, inside_j = r < rows, j < n
    part = tl.zeros((ROWS, COLUMNS), dtype=tl.float64)
    factors, lines = by_column + r, gram + j
    for _ in range(n):
        factor = tl.load(factors, mask=inside_r, other=0.0)
        line = tl.load(lines, mask=inside_j, other=0.0)
        part += factor[:, None] * line[None, :]
        factors += rows
        lines += n
    place = r.to(tl.int64)[:, None] * n + j[None, :]
    tl.store(total + place, part, mask=inside_r[:, None] & inside_j[None, :])


@triton.jit  # type: ignore[untyped-decorator]
def _bounds(reach, heights, slopes, result, groups, size, bins, BLOCK: tl.constexpr):  # type: ignore[no-untyped-def]
    line_of = tl.program_id(0).to(tl.int64)  # row * groups + group
    j = tl.program_id(1) * BLOCK + tl.arange(0, BLOCK)
    inside = j < size
    t = tl.load(reach + line_of * size + j, mask=inside, other=0.0)
    least = tl.full((BLOCK,), float("inf"), dtype=tl.float64)
    row = line_of // groups
    for line in range(bins):
        height = tl.load(heights + line_of * bins + line)
        slope = tl.load(slopes + row * bins + line)
        least = tl.minimum(least, height - t * slope)
    tl.store(result + line_of * size + j, least, mask=inside)


@triton.jit  # type: ignore[untyped-decorator]
def _least(row, p, weight, b, blocks, result, n, size, BLOCK: tl.constexpr):  # type: ignore[no-untyped-def]
    item = tl.program_id(0)
    r, column = tl.load(row + item), tl.load(p + item)
    factor = tl.load(weight + r * n + column) * -2.0
    start = r * n + column // size * size
    least = tl.full((BLOCK,), float("inf"), dtype=tl.float64)
    for left in range(0, size, BLOCK):
        j = left + tl.arange(0, BLOCK)
        inside = j < size
        line = tl.load(blocks + column * size + j, mask=inside, other=0.0)
        w = tl.load(weight + start + j, mask=inside, other=0.0)
        height = tl.load(b + start + j, mask=inside, other=float("inf"))
        least = tl.minimum(least, line * w * factor + height)
    tl.store(result + item, tl.min(least, axis=0))


class Fused:
    """The kernels in Triton; see `solvers.local_search.one_swap.tensors.Kernels`."""

    def sum_afresh(self, pruned_weight: Tensor, gram: Tensor) -> Tensor:
        """See `Kernels`."""
        rows, n = pruned_weight.shape
        total = torch.empty_like(pruned_weight)
        by_column = pruned_weight.t().contiguous()
        grid = (triton.cdiv(n, COLUMNS), triton.cdiv(rows, ROWS))
        _sum_afresh[grid](
            by_column, gram, total, rows, n, ROWS=ROWS, COLUMNS=COLUMNS, enable_fp_fusion=False
        )
        return total

    def bounds(self, reach: Tensor, heights: Tensor, slopes: Tensor) -> Tensor:
        """See `Kernels`."""
        rows, groups, size = reach.shape
        result = torch.empty_like(reach)
        grid = (rows * groups, triton.cdiv(size, BLOCK))
        _bounds[grid](
            reach,
            heights,
            slopes,
            result,
            groups,
            size,
            heights.shape[2],
            BLOCK=BLOCK,
            enable_fp_fusion=False,
        )
        return result

    def least(
        self, row: Tensor, p: Tensor, weight: Tensor, b: Tensor, blocks: Tensor, *, tile: int
    ) -> Tensor:
        """See `Kernels`. A program for each item is a waste where groups are small."""
        n, size = blocks.shape
        if size < SMALL_GROUP:
            return Plain().least(row, p, weight, b, blocks, tile=tile)
        result = weight.new_empty(len(p))
        if len(p):
            block = min(BLOCK, triton.next_power_of_2(size))
            _least[(len(p),)](
                row, p, weight, b, blocks, result, n, size, BLOCK=block, enable_fp_fusion=False
            )
        return result

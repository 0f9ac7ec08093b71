"""1-swap search as one would first write it in torch: the whole tensor of pairs, every step.

    delta[r, p, u] = a[r, p] + b[r, u] - 2 w[r, p] w[r, u] G[p, u]
    (`solvers.local_search.one_swap.rule`)

for all rows at once, infinite on pairs that may not be exchanged. A step costs rows * n^2 numbers
of memory and several passes over them. The speed of `swap` is compared with it.
"""

import torch
from torch import Tensor


def plain_steps(weight: Tensor, gram: Tensor, mask: Tensor, size: int, steps: int) -> Tensor:
    """Make `steps` best swaps in every row; the masks reached, (rows, n) bool, True = kept.

    weight: (rows, n). gram: (n, n). Both of one float dtype. mask: (rows, n) bool, legal for
    groups of `size` columns. Swaps are made whether or not they improve.
    """
    mask = mask.clone()
    count, n = weight.shape
    rows = torch.arange(count)
    group = torch.arange(n) // size
    together = group[:, None] == group[None, :]
    square = weight**2 * gram.diagonal()
    correlation = weight.masked_fill(mask, 0.0) @ gram
    for _ in range(steps):
        cross = 2 * weight * correlation
        delta = -2 * weight[:, :, None] * weight[:, None, :] * gram
        delta += (square - cross)[:, :, None]
        delta += (square + cross)[:, None, :]
        legal = ~mask[:, :, None] & mask[:, None, :] & together
        place = delta.masked_fill_(~legal, torch.inf).flatten(1).argmin(dim=1)
        p, u = place // n, place % n
        correlation += weight[rows, u, None] * gram[u] - weight[rows, p, None] * gram[p]
        mask[rows, p], mask[rows, u] = True, False
    return mask

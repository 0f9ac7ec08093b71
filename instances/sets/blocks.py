"""Blocks of consecutive columns that are kept or pruned together, with one budget a row.

With s_b the sum of the gradient over block b, the minimum over masks that prune k blocks is the sum
of the k smallest s_b, forced blocks first. The relaxation is that of a budget over the blocks: the
hull.
"""

from dataclasses import dataclass

import numpy as np

from instances.groups import Mask, Vector
from instances.sets.rows import KEPT, PRUNED, LinearRows, States


@dataclass(frozen=True)
class BlockRule:
    """The oracle of `blocks` blocks pruned out of those of `size` columns each."""

    size: int
    blocks: int

    def minimise(self, rows: LinearRows, gradient: Vector, state: States) -> Mask | None:
        """As `Rule.minimise`: one stable sort."""
        grouped = state.reshape(-1, self.size)
        ones, zeros = (grouped == PRUNED).any(axis=1), (grouped == KEPT).any(axis=1)
        left = self.blocks - int(ones.sum())
        free = ~(ones | zeros)
        if (ones & zeros).any() or not 0 <= left <= int(free.sum()):
            return None
        sums = np.where(free, gradient.reshape(-1, self.size).sum(axis=1), np.inf)
        chosen = ones.copy()
        chosen[np.argsort(sums, kind="stable")[:left]] = True
        return np.repeat(chosen, self.size)

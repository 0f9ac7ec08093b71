"""The masks of some rows of a layer as its mask file, with the weights that they leave.

Under the objective refit those are the best there are for the masks, whatever a solver made of
them, unless they are given. Rows that were not solved stay as they were.
"""

from dataclasses import dataclass
from pathlib import Path

import numpy as np

from maskgap.instances.arrays import Kept, Matrix
from maskgap.instances.formats import files
from maskgap.instances.problem import Problem


@dataclass(frozen=True, eq=False)
class Found:
    """Masks (rows, d_in) of the rows of a problem. weights: alike, where they are given."""

    problem: Problem
    masks: Kept
    weights: Matrix | None = None

    @property
    def mask(self) -> Kept:
        """(d_out, d_in) the mask of the layer."""
        whole = Kept(np.ones(self.problem.layer.weight.shape, dtype=bool))
        whole[self._rows] = self.masks
        return whole

    def final_weights(self) -> Matrix | None:
        """(d_out, d_in) the weights of the layer, 0 where pruned; None where they stay."""
        if not self.problem.objective.refits:
            return None
        whole = self.problem.layer.weight.copy()
        own = self.weights
        whole[self._rows] = self.problem.refitted(self.masks) if own is None else own
        return whole

    def write(self, path: Path, solver: str) -> None:
        """Write the mask file. Raises InputError."""
        problem = self.problem
        files.write_mask(
            path,
            self.mask,
            problem.layer,
            problem.pattern.text,
            solver,
            rows=problem.rows,
            objective=problem.objective,
            weights=self.final_weights(),
        )

    @property
    def _rows(self) -> slice:
        return slice(self.problem.rows.start, self.problem.rows.stop)

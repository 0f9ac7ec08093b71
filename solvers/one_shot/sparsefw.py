"""SparseFW: Frank-Wolfe on the relaxed mask, then rounding (arXiv 2510.13713).

The mask M of a row is relaxed to the hull of the legal masks, and with z = 1 - M

    L(z) = (w * z)^T G (w * z),      gradient  2 w * G (w * z),

is lowered from the warm start by T steps of the plain Frank-Wolfe method with its open-loop step

    z  <-  (1 - eta) z + eta v,   eta = 2 / (t + 2),   v the legal mask of least gradient . v.

The share alpha of the kept weights with the highest saliency is kept from the beginning, and the
steps choose among the others (its algorithm 2: alpha = 0.9, T = 2000, saliency of the warm start).
At the end the largest entries of M in each group are kept.

Two things are settled here that the paper leaves open. The budgets are met exactly, where its hull
has "at most k": its oracle prunes more when a gradient is positive. And the weights kept from the
beginning, floor(alpha k) of the k that the row keeps, are chosen among those that the warm start
keeps, so that N:M has room for them: one number for each row, not for each group.

The first step has eta = 1 and the loss need not fall in each; the rounded mask may be worse than
the warm start. It is returned as it is. A step costs one product of all rows with the Gram.
"""

from collections.abc import Iterator
from fractions import Fraction
from typing import Annotated

import numpy as np
from pydantic import Field

from maskgap.instances.arrays import Flags, Kept, Matrix, pruned_of
from maskgap.instances.errors import Refused
from maskgap.instances.layer import unit_rows
from maskgap.instances.masks.groups import BudgetGroups
from maskgap.instances.problem import Problem
from maskgap.solvers.one_shot.scores import score, starting_masks
from maskgap.solvers.protocol import Answer, Limits, Stop
from maskgap.solvers.settings import Count, WarmStart, settings


@settings
class SparseFw:
    """Frank-Wolfe on the relaxed mask."""

    iterations: Count = 2000
    """Steps T."""
    fixed: Annotated[float, Field(ge=0, le=1)] = 0.9
    """The share alpha of the kept weights that is not optimised."""
    warm_start: WarmStart = "wanda"
    """Its saliency chooses the fixed weights and, unless a mask is given, the start."""

    def solve_rows(self, problem: Problem, limits: Limits, seed: int) -> list[Answer]:
        """One mask a row. At the deadline, looked at in each step, the mask so far is rounded.

        Raises Refused without a warm start.
        """
        with limits.journal.phase("build"):
            start = starting_masks(problem, self.warm_start, seed)
            if start is None:
                raise Refused("sparsefw needs a start: magnitude, wanda, ria, obs, random")
            rows = slice(problem.rows.start, problem.rows.stop)
            saliency = score(problem.layer, self.warm_start, seed)[rows]
            held = fixed_weights(start, saliency, self.fixed)
            weight, _ = unit_rows(problem.weight)
            gram, _ = problem.layer.gram_unit
        z, steps = pruned_of(start).astype(np.float64), 0
        descent = relax(weight, gram, problem.groups, held, z)
        while steps < self.iterations and not limits.deadline.expired():
            z = next(descent)
            steps += 1
        stop = Stop.FINISHED if steps == self.iterations else limits.deadline.stop()
        masks = problem.groups.prune_lowest(-z)
        return [Answer(Kept(mask), stop, counters={"oracle_calls": steps}) for mask in masks]


def fixed_weights(start: Kept, saliency: Matrix, share: float) -> Flags:
    """(rows, n) bool: of the weights that each row of `start` keeps, the most salient `share`.

    Their number is rounded down, in decimal arithmetic; ties go to the lower column.
    """
    held = np.zeros(start.shape, dtype=bool)
    number = int(Fraction(str(share)) * int(start[0].sum()))
    order = np.argsort(np.where(start, -saliency, np.inf), axis=1, kind="stable")
    np.put_along_axis(held, order[:, :number], True, axis=1)
    return held


def relax(
    weight: Matrix, gram: Matrix, groups: BudgetGroups, held: Flags, start: Matrix
) -> Iterator[Matrix]:
    """The iterates z (rows, n) after each step, without end; `held` (rows, n) is never pruned."""
    z, t = start, 0
    while True:
        gradient = weight * ((weight * z) @ gram)  # the factor 2 changes no vertex
        vertex = pruned_of(groups.prune_lowest(np.where(held, np.inf, gradient)))
        step = 2 / (t + 2)
        z = (1 - step) * z + step * vertex
        t += 1
        yield z

"""DSnoT: exchanges that lower the expected error of a row (arXiv 2310.08915, ICLR 2024).

With s_j = w_j E[x_j] over tokens, the error of a mask on an input x and its mean are

    sum over pruned j of  w_j x_j,        e = sum over pruned j of  s_j.

From a warm start, a row exchanges one pruned weight i for one kept weight j at a time, where

    i  is grown:   the pruned one of greatest   sign(e) s_i / Var[x_i]   among those above 0,
    j  is pruned:  the kept one of least        |w_j| ||X_j||_2  (Wanda)  among sign(e) s_j < 0,

so that growing and pruning both move e towards 0. With N:M budgets j is the least by Wanda in the
group of i, whatever its sign, as in the authors' program. A row ends when |e| is at most the
threshold, after max_cycles exchanges, or when no exchange of these two lowers |e| (the authors'
program makes such an exchange and goes on).

Only e is looked at: not the variance of the error, of which the layer's loss mostly consists, so a
mask may come out worse by the loss than its start. It is returned as it is.

The paper's threshold, 0.1, belongs to the unit of the authors' program, which sums the inputs over
the tokens of a sequence of 2048 where the formula has a mean; so |e| is counted per `tokens` here.
The threshold is in units of the layer's output: unlike all else here it depends on their scale.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from maskgap.instances.arrays import Flags, Kept, Matrix, Vector, pruned_of
from maskgap.instances.errors import Refused
from maskgap.instances.layer import unit_rows
from maskgap.instances.masks.groups import BudgetGroups
from maskgap.instances.problem import Problem
from maskgap.solvers.one_shot.scores import starting_masks, wanda
from maskgap.solvers.protocol import Answer, Deadline, Limits, Stop
from maskgap.solvers.settings import Count, NotNegative, Positive, WarmStart, settings

Indices = NDArray[np.int64]

VARIANCE_FLOOR = 1e-12
"""Least variance, as a share of the mean square: constant inputs are grown first, in an order."""


@settings
class Dsnot:
    """Exchanges that lower the expected error."""

    max_cycles: Count = 50
    """Exchanges a row at most."""
    threshold: NotNegative = 0.1
    """Expected error per `tokens` tokens, in units of the layer's output, at which a row ends."""
    tokens: Positive = 2048
    """Tokens that the threshold is meant for."""
    warm_start: WarmStart = "wanda"
    """Score of the mask to start from, unless one is given."""

    def solve_rows(self, problem: Problem, limits: Limits, seed: int) -> list[Answer]:
        """One mask a row with its number of swaps; at the deadline, the masks so far.

        Raises Refused when the layer has no mean of its inputs or there is no start.
        """
        layer = problem.layer
        mean, variance = layer.input_mean, layer.input_variance()
        if mean is None or variance is None:
            raise Refused(
                "dsnot needs the tensor 'input_mean', which this layer does not have; "
                "`maskgap extract` writes it"
            )
        with limits.journal.phase("build"):
            start = starting_masks(problem, self.warm_start, seed)
            if start is None:
                raise Refused("dsnot needs a start: magnitude, wanda, ria, obs, random or a mask")
            weight, exponents = unit_rows(problem.weight)
            squares = variance + mean**2
            floored = np.maximum(variance, VARIANCE_FLOOR * squares)
            shares = weight * mean
            # A dead column has share 0, so it is never grown and any divisor will do.
            growth = shares / np.where(floored > 0, floored, 1.0)
            rows = slice(problem.rows.start, problem.rows.stop)
            search = Exchanges(start.copy(), shares, growth, wanda(layer)[rows], problem.groups)
            threshold = np.ldexp(self.threshold / self.tokens, -exponents)
        swaps, stops = search.run(self.max_cycles, threshold, limits.deadline)
        return [
            Answer(Kept(mask), stop, counters={"swaps": int(number)})
            for mask, stop, number in zip(search.mask, stops, swaps, strict=True)
        ]


@dataclass(frozen=True, eq=False)
class Exchanges:
    """Rows that exchange weights in step.

    mask: (rows, n), changed in place. shares: s (rows, n). growth: s / Var[x].
    saliency: Wanda's. groups: the budgets, one group being a budget of the row.
    """

    mask: Kept
    shares: Matrix
    growth: Matrix
    saliency: Matrix
    groups: BudgetGroups

    def run(
        self, max_cycles: int, threshold: Vector, deadline: Deadline
    ) -> tuple[Indices, list[Stop]]:
        """Exchange until every row has ended: exchanges made by each row (rows,), and why it ended.

        threshold: (rows,) least |e| that a row goes on with.
        """
        swaps = np.zeros(len(self.mask), dtype=np.int64)
        stops = [Stop.FINISHED] * len(self.mask)
        error = np.where(self.mask, 0.0, self.shares).sum(axis=1)
        active = np.flatnonzero(np.abs(error) > threshold)
        while len(active):
            if deadline.expired():
                for row in active:
                    stops[row] = deadline.stop()
                break
            for row in active[swaps[active] >= max_cycles]:
                stops[row] = Stop.ITERATIONS
            active = active[swaps[active] < max_cycles]
            grow, cut, possible = self._choose(active, np.sign(error[active]))
            after = error[active] + self.shares[active, cut] - self.shares[active, grow]
            moves = possible & (np.abs(after) < np.abs(error[active]))
            active, grow, cut = active[moves], grow[moves], cut[moves]
            self.mask[active, grow], self.mask[active, cut] = True, False
            error[active] = after[moves]
            swaps[active] += 1
            active = active[np.abs(error[active]) > threshold[active]]
        return swaps, stops

    def _choose(self, rows: Indices, sign: Vector) -> tuple[Indices, Indices, Flags]:
        """Columns to grow and to prune of some rows (count,), and which of them have both."""
        kept, toward = Kept(self.mask[rows]), sign[:, None] * self.shares[rows]
        gain = np.where(pruned_of(kept) & (toward > 0), sign[:, None] * self.growth[rows], -np.inf)
        grow = gain.argmax(axis=1)
        if self.groups.count == 1:
            free = kept & (toward < 0)
        else:
            group = np.arange(self.groups.n) // self.groups.size
            free = kept & (group == group[grow][:, None])
        cost = np.where(free, self.saliency[rows], np.inf)
        possible = (gain.max(axis=1, initial=-np.inf) > -np.inf) & free.any(axis=1)
        return grow, cost.argmin(axis=1), possible

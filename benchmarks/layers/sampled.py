"""Bounding some rows of a layer, drawn at random, to estimate the gap of all (`layers.estimate`).

All rows get masks first, by the passes that take all rows together: the losses of these are the
sizes that rows are drawn by. Then the rows drawn go up the ladder, pass by pass and in the order in
which they were drawn, so that those which have had most are a sample too. The estimate is from the
first of them that all have a checked bound.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from itertools import takewhile

import numpy as np
from numpy.typing import NDArray

from maskgap.benchmarks.layers.estimate import (
    CONFIDENCE,
    Estimate,
    Population,
    drawn,
    estimate,
)
from maskgap.benchmarks.layers.rows import LayerBound
from maskgap.benchmarks.layers.standing_rows import RowState, Total
from maskgap.benchmarks.runs.executor import Executor
from maskgap.benchmarks.runs.task import RunLimits
from maskgap.benchmarks.verify.certificate import BoundKind
from maskgap.instances.arrays import Matrix, Vector
from maskgap.instances.formats.proof import PartProof
from maskgap.instances.problem import Problem


@dataclass(frozen=True, eq=False)
class Sample:
    """How many rows to draw, and at which confidence the gap of all is estimated.

    sizes: (rows,) that an earlier call drew rows by; None: they are found.
    """

    count: int
    confidence: float = CONFIDENCE
    sizes: Vector | None = None


class SampledBound(LayerBound):
    """The work on the rows drawn. sizes: (rows,) that they were drawn by; None before that."""

    def __init__(
        self,
        problem: Problem,
        limits: RunLimits,
        sample: Sample,
        *,
        runs: int | None = None,
        held: Mapping[int, PartProof] | None = None,
        executor: Executor | None = None,
        weights: Matrix | None = None,
    ) -> None:
        self.sample, self.sizes = sample, sample.sizes
        self._all_rows = True
        super().__init__(problem, limits, runs=runs, held=held, executor=executor, weights=weights)

    def _steps(self) -> Iterator[object]:
        """See the module's docstring. A bound of all rows together pays for all rows only."""
        for number, stage in enumerate(self._ladder(), start=1):
            self._all_rows = stage.together
            if not stage.together:
                self._draw()
            if stage.looks_for_masks and self.judging:
                self._leave_out(number)
                continue
            pays = not stage.together or stage.looks_for_masks
            if pays and not (yield from self._pass(number, stage)):
                return

    def _draw(self) -> None:
        """Take the losses of the masks as they stand for the sizes, once all rows have one."""
        losses = [state.certificate.objective for state in self._rows]
        if self.sizes is None and None not in losses:
            self.sizes = np.array(losses, dtype=np.float64)

    @property
    def _drawn(self) -> NDArray[np.intp]:
        """Places of all rows in the order in which they would be drawn; none before sizes."""
        if self.sizes is None:
            return np.empty(0, dtype=np.intp)
        return drawn(self.sizes, self.limits.seed)

    def _sampled(self) -> list[RowState]:
        """The rows drawn, in order."""
        return [self._rows[place] for place in self._drawn[: self.sample.count]]

    def _candidates(self) -> list[RowState]:
        return super()._candidates() if self._all_rows else self._sampled()

    @property
    def total(self) -> Total:
        """The sums as they stand; no gap while a row has no checked bound."""
        total = super().total
        return total if all(_is_bounded(s) for s in self._rows) else replace(total, gap=None)

    @property
    def estimate(self) -> Estimate:
        """The gap of all rows, as far as those drawn tell."""
        known = list(takewhile(_is_bounded, self._sampled()))
        total = super().total
        if self.sizes is None or total.objective_high is None:
            return Estimate(None, None, None, self.sample.confidence, 0)
        return estimate(
            Population(total.objective_high, total.bound, self.sizes, self._drawn),
            [s.certificate.objective_high or 0.0 for s in known],
            [s.certificate.bound for s in known],
            self.sample.confidence,
        )


def _is_bounded(state: RowState) -> bool:
    """Whether a row has a mask and a checked bound."""
    found = state.certificate
    return found.loss is not None and found.bound_kind is BoundKind.CHECKED

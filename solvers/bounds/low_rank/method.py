"""The course of the low-rank method: the relaxation, then triangle inequalities, then its bound.

    plain       steps, after each block of which the budgets' multipliers take the penalties' load
    rounds      inequalities that Y = V V^T violates are added, and their multipliers move with it
    held        multipliers are put at their mean over the last rounds and held while V converges

Only then is the slack nearly semidefinite: a bound is what V says of held multipliers. Whenever the
slack is looked at, its eigenvectors of negative eigenvalues are put into V, which would grow along
them slowly, and the multipliers of the best bound so far are kept for each row.

A step takes 2 n^2 rank operations a row; looking for inequalities takes n^3 / 6.
"""

from collections.abc import Callable
from dataclasses import dataclass
from itertools import count

import torch

from maskgap.instances.arrays import Vector
from maskgap.solvers.bounds.low_rank.factor import Factor
from maskgap.solvers.bounds.low_rank.slack import Slack, slack_of
from maskgap.solvers.bounds.triangles import Cuts

BLOCK = 100
"""Steps after which the budgets' multipliers move; LOOKS: blocks after which the slack is."""

LOOKS = 2

TURNS = 8
"""Moves of the inequalities' multipliers in a round; STEPS: steps before each."""

STEPS = 15
LOADS = 4
"""Moves after which the budgets' multipliers take the load."""

FINDING = 0.5
"""Share of the rounds that add inequalities, and MEAN: rounds whose multipliers are averaged."""

MEAN = 2
SLOPE = 1.2
"""Of the multipliers of inequalities, in units of the value over n, at least LEAST_VALUE."""

LEAST_VALUE = 1e-4

HELD = 10
"""Most blocks of HELD_STEPS steps while multipliers are held."""

HELD_STEPS = 120

INJECTED = 3e-3
"""Share of the squared norm of V that a direction of the least eigenvalue is given."""

NEGATIVE = 1e-7
"""Eigenvalues above minus this are none."""

LANCZOS = 120
"""Steps of Lanczos with inequalities; PLAIN_LANCZOS: without, and one more for 32 columns each."""

PLAIN_LANCZOS = 60


@dataclass(frozen=True)
class Effort:
    """How much is spent.

    iterations: steps without inequalities, at most. rank: of V then. tolerance: relative distance
    of bound and value at which the rows are done. rounds: with inequalities. cut_rank: rank of V
    then. batch: inequalities that a round adds to a row, at most. least, at_last: by how much one
    is violated that is added, in the first half of the rounds that add and in the second.
    """

    iterations: int = 800
    rank: int = 16
    tolerance: float = 2e-3
    rounds: int = 0
    cut_rank: int = 48
    batch: int = 1000
    least: float = 0.1
    at_last: float = 0.05


@dataclass(frozen=True, eq=False)
class Multipliers:
    """Of one row. y: (n + 1,) float64. cuts and weight (m,): its inequalities.

    value, bound: of the relaxation, by V and by the least eigenvalue of the slack. first: (n + 1,)
    float64, the first row of Y.
    """

    y: Vector
    cuts: Cuts
    weight: Vector
    value: float
    bound: float
    first: Vector

    @property
    def gap(self) -> float:
        """Distance of value and bound as a share of the value."""
        return (self.value - self.bound) / max(abs(self.value), 1e-12)


class Course:
    """A batch on its way. best: of each row, once the slack has been looked at."""

    def __init__(self, factor: Factor, effort: Effort, late: Callable[[], bool]) -> None:
        self.factor, self.effort, self._late = factor, effort, late
        self.best: list[Multipliers | None] = [None] * factor.costs.rows
        self.steps = 0

    def run(self) -> None:
        """All of it, or what there is time for: at the end each row has multipliers."""
        plain = self._plain()
        if self.effort.rounds and not self._late():
            least = LEAST_VALUE * len(plain.y)
            unit = plain.value.clamp_min(least) / len(plain.y)
            self.factor.cuts.slope = (SLOPE * unit).to(self.factor.vectors.dtype)
            self._rounds()
            self._held()

    def _advance(self, steps: int) -> bool:
        """Take steps; whether there is time for more."""
        self.factor.run(steps)
        self.steps += steps
        return not self._late()

    def _plain(self) -> Slack:
        """The slack at the end of it."""
        blocks = -(-self.effort.iterations // BLOCK)
        for block in count(1):
            more = self._advance(BLOCK) and block < blocks
            self.factor.move_load()
            if block % LOOKS == 0 or not more:
                slack = self._look(PLAIN_LANCZOS + len(self.factor.vectors) // 32)
                if not more or self._done(slack):
                    break
                self._inject(slack)
        return slack

    def _rounds(self) -> None:
        effort, factor, cuts = self.effort, self.factor, self.factor.cuts
        factor.resize(effort.cut_rank)
        finding = max(1, round(FINDING * effort.rounds))
        for number in range(effort.rounds):
            if number < finding:
                least = effort.least if number < finding / 2 else effort.at_last
                cuts.find(factor.budgets.counted(factor.vectors), effort.batch, least)
            factor.prepare()
            if number == max(finding, effort.rounds - MEAN):
                cuts.begin_mean()
            for turn in range(1, TURNS + 1):
                more = self._advance(STEPS)
                if turn % LOADS == 0:
                    factor.move_load()
                cuts.update(factor.vectors)
                if not more:
                    return
            if number < finding:
                cuts.let_go()
            self._inject(slack_of(factor, LANCZOS))

    def _held(self) -> None:
        factor = self.factor
        factor.cuts.end_mean()
        factor.cuts.slope = torch.zeros_like(factor.cuts.slope)
        factor.prepare()
        for block in range(HELD):
            more = self._advance(HELD_STEPS)
            factor.move_load()
            slack = self._look(LANCZOS)
            if not more or block + 1 == HELD or self._done(slack):
                return
            self._inject(slack)

    def _look(self, lanczos: int) -> Slack:
        """Look at the slack, and keep the multipliers of rows whose bound is the best so far."""
        slack, factor = slack_of(self.factor, lanczos), self.factor
        values, y = slack.value.tolist(), slack.y.cpu().numpy()
        for row, bound in enumerate(slack.bound.tolist()):
            held = self.best[row]
            if held is None or bound > held.bound:
                own = factor.vectors[:, row].to(torch.float64)
                cuts, weight = factor.cuts.of_row(row)
                first = (own @ own[0]).cpu().numpy()
                self.best[row] = Multipliers(
                    y[:, row].copy(), cuts, weight, values[row], bound, first
                )
        return slack

    def _done(self, slack: Slack) -> bool:
        room = self.effort.tolerance * slack.value.abs()
        return bool((slack.value - slack.bound <= room).all())

    def _inject(self, slack: Slack) -> None:
        """Put the directions of negative eigenvalues into V, by their share of the least one."""
        least = slack.least[:, :1].clamp_max(-NEGATIVE)
        share = torch.where(slack.least < -NEGATIVE, slack.least / least, 0.0)
        amounts = (INJECTED * len(slack.y) * share).sqrt()
        self.factor.inject(slack.directions, amounts.to(slack.directions))

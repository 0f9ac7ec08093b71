"""What the adapters of native solvers share: the unit of the model, and the way back to an answer.

Native solvers have absolute tolerances and a gap that ends at them: with an optimum of 1e-6 they
report "optimal" for masks many times worse, and dual bounds above the optimum. `Part.quad`
has a mean diagonal near 1, yet its optimum may still be tiny. So a model minimises

    z^T (Q / unit) z,   unit the power of two that brings the loss of a cheap legal mask into
                        [STANDARD / 2, STANDARD), but no entry of Q / unit beyond LARGEST_ENTRY,

under refit, in scaled changes of weights, with the S for which S H S has unit diagonal,

    min delta^T (S H S) delta,   delta_j = y_j where z_j = 1,   y = S^-1 w / unit^(1/2),

and a native bound b is claimed as unit * (b - slack(b)), slack(b) = tolerance + ROUNDING |b|: the
solver's absolute tolerance is what its own bound can be trusted to at best. A native objective
within that slack of the recomputed loss counts as equal to it.

A native vector is rounded at 1/2 and is a mask only if every row then holds exactly. Whatever
the solver does, a given start or a mask it once reported is never lost to a worse one.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from math import isfinite
from typing import TypeVar

import numpy as np
from numpy.typing import ArrayLike

from maskgap.instances.arrays import Kept, Matrix, Vector
from maskgap.instances.errors import Refused
from maskgap.instances.layer import unit_exponent
from maskgap.instances.masks.protocol import MaskSet
from maskgap.instances.problem import Part
from maskgap.instances.refit import changes
from maskgap.solvers.one_shot import scores
from maskgap.solvers.protocol import Answer, Limits, Stop

Built = TypeVar("Built")

STANDARD = 16.0
"""Size of the loss of the cheap mask in the units of a model."""

LARGEST_ENTRY = 1e7
"""Largest entry of Q / unit; beyond, solvers lose more to the coefficients than the unit gains."""

NATIVE_INFINITY = 1e19
"""Values this large mean 'none': SCIP says 1e20, Gurobi 1e100, HiGHS infinity."""

ROUNDING = 1e-9
"""Relative part of the slack: solvers compare values that close as equal."""

GAP_SHARE = 0.5
"""Share of the gap asked for that the native solver gets; the rest is for its bound's slack."""


class NativeError(RuntimeError):
    """A native solver returned something that it cannot mean: an unknown status, a failed call."""


class OutOfTime(Exception):  # noqa: N818 - how a build ends, not a fault
    """The deadline passed while a model was being built."""


@dataclass(frozen=True, slots=True)
class Outcome:
    """What a native solver said, in units of the model; None where it said nothing.

    stop: why it ended. status: its own word. version: its name and version. vector: (n,) values of
    z, 1 = pruned. nodes: of its tree.
    """

    stop: Stop
    status: str
    version: str
    vector: ArrayLike | None = None
    objective: float | None = None
    bound: float | None = None
    nodes: int = 0


def round_to_mask(values: ArrayLike, legal: MaskSet) -> Kept | None:
    """Mask (n,) of native values of z (n,), 1 = pruned, rounded at 1/2.

    None when a value is not finite or the mask is not exactly legal after rounding.
    """
    vector = np.asarray(values, dtype=np.float64)
    if vector.shape != (legal.n,) or not np.isfinite(vector).all():
        return None
    mask = Kept(vector <= 0.5)
    return mask if legal.is_legal(mask) else None


def _entries(problem: Part) -> tuple[Matrix, Vector]:
    """The matrix of a model before its unit, and what its columns weigh: 1, or under refit y."""
    if not problem.objective.refits:
        return problem.quad, np.ones(problem.n)
    hessian = problem.hessian
    root = np.sqrt(hessian.diagonal())
    return hessian / np.outer(root, root), problem.target * root


def stop_of(status: str, known: Mapping[str, Stop], solver: str) -> Stop:
    """The reason to stop behind a native status. Raises NativeError for one that is not known."""
    if status not in known:
        raise NativeError(f"{solver} ended with status '{status}', which has no meaning here")
    return known[status]


def finite(value: float | None) -> float | None:
    """A native value, or None where the solver means infinity or nothing."""
    return None if value is None or not abs(value) < NATIVE_INFINITY else float(value)


class NativeRun:
    """One run of a native solver on a row: its units, its best mask, its deadline.

    quad: (n, n) float64, Q / unit; under refit S H S. target: (n,) y under refit, else none.
    start: (n,) mask to start from or None. cheap: (n,) mask that prunes what costs least alone.
    tolerance: absolute, of the solver's bound. settled: the answer where none needs a solver (one
    legal mask, a mask of loss 0, no time), else None.
    """

    def __init__(
        self, problem: Part, limits: Limits, warm_start: str, seed: int, tolerance: float
    ) -> None:
        self.problem = problem
        self.limits = limits
        self.tolerance = tolerance
        self.mask: Kept | None = None
        self.loss = np.inf
        with limits.journal.phase("build"):
            self.start = scores.starting_mask(problem, warm_start, seed)
            if self.start is not None:
                self.offer(self.start)
            entries, sizes = _entries(problem)
            costs = entries.diagonal() * sizes**2
            self.cheap = problem.legal.prune_lowest(costs)
            self.cheap_loss = min(problem.scaled_loss(self.cheap), self.loss)
            largest = costs.max() if problem.objective.refits else np.abs(entries).max()
            self.unit = self._unit(self.cheap_loss, float(largest))
            self.quad: Matrix = entries
            self.target: Vector = sizes / np.sqrt(self.unit)
            if not problem.objective.refits:
                self.quad, self.target = entries / self.unit, sizes[:0]
        self.settled: Answer | None = None
        if limits.deadline.expired():
            self.settled = self.unsolved()
        elif problem.legal.single or self.cheap_loss == 0.0:
            self.offer(self.cheap)
            limits.journal.bound(self.loss)
            self.settled = Answer(
                self.mask, Stop.FINISHED, self.loss, self.loss, notes={"native_status": "not run"}
            )

    @staticmethod
    def _unit(loss: float, entry: float) -> float:
        least = entry / LARGEST_ENTRY
        wanted = max(loss / STANDARD, least)
        return float(np.ldexp(1.0, unit_exponent(wanted))) if wanted > 0 else 1.0

    @property
    def legal(self) -> MaskSet:
        """The legal masks of the row."""
        return self.problem.legal

    @property
    def native_gap(self) -> float:
        """Relative gap at which the native solver may stop."""
        return GAP_SHARE * self.limits.gap

    def change(self, mask: Kept) -> Vector:
        """The best delta (n,) of a mask under refit, in units of the model."""
        found: Vector = changes(self.quad, self.target[None], Kept(mask[None]))[0]
        return found

    def refuse_above(self, columns: int, why: str) -> None:
        """Raise Refused when the row is wider than the model can sensibly be built for."""
        if self.problem.n > columns:
            raise Refused(
                f"row {self.problem.row} has {self.problem.n} columns, at most {columns}: {why}"
            )

    def three_steps(
        self, widest: int, why: str, build: Callable[[], Built], finish: Callable[[Built], Answer]
    ) -> Answer:
        """Build on the clock of the phase 'build', then solve and read back with `finish`.

        Raises Refused for a row wider than `widest` columns; `why` says what would be too large. A
        build that runs out of time is the answer of what there is by then.
        """
        if self.settled is not None:
            return self.settled
        self.refuse_above(widest, why)
        try:
            with self.limits.journal.phase("build"):
                built = build()
        except OutOfTime:
            return self.unsolved()
        return finish(built)

    def check_time(self, needed: float = 0.0) -> None:
        """Raise OutOfTime when no more than `needed` seconds are left."""
        if self.limits.deadline.remaining() <= needed:
            raise OutOfTime

    def offer(self, mask: Kept) -> None:
        """Keep a legal mask if it is the best so far, and note it in the journal."""
        loss = self.problem.scaled_loss(mask)
        if loss < self.loss:
            self.mask, self.loss = mask, loss
            self.limits.journal.incumbent(mask, loss)

    def offer_vector(self, values: ArrayLike) -> None:
        """Keep the mask of native values of z, where it is legal."""
        mask = round_to_mask(values, self.legal)
        if mask is not None:
            self.offer(mask)

    def offer_bound(self, native: float | None) -> None:
        """Note a native dual bound in the journal."""
        bound = self.claim(native)
        if bound is not None:
            self.limits.journal.bound(bound)

    def slack(self, native: float) -> float:
        """What the solver's tolerance may be worth at a native value, in units of the model."""
        return self.tolerance + ROUNDING * abs(native)

    def claim(self, native: float | None) -> float | None:
        """The bound to claim for a native one, in units of `Part.scaled_loss`, or None."""
        value = finite(native)
        return None if value is None else self.unit * (value - self.slack(value))

    def unsolved(self, **notes: str) -> Answer:
        """The answer when the deadline came before the solver was started: the start or nothing."""
        objective = None if self.mask is None else self.loss
        return Answer(self.mask, self.limits.deadline.stop(), objective, notes=dict(notes))

    def answer(self, outcome: Outcome, **notes: str | float) -> Answer:
        """The answer after a native run."""
        said: dict[str, str | float] = {
            "native_status": outcome.status,
            "version": outcome.version,
            "unit": self.unit,
        }
        objective = None
        if outcome.vector is not None:
            mask = round_to_mask(outcome.vector, self.legal)
            if mask is None:
                said["rejected"] = "the native solution does not meet the budgets when rounded"
            else:
                self.offer(mask)
                if self.problem.scaled_loss(mask) <= self.loss:
                    objective = self._reconcile(outcome.objective)
        if self.mask is not None and objective is None:
            objective = self.loss
        value = finite(outcome.bound)
        if value is not None:
            said["native_bound"] = value
        self.offer_bound(outcome.bound)
        if outcome.stop is Stop.INTERRUPTED:
            self.limits.deadline.interrupt()
        return Answer(
            self.mask,
            outcome.stop,
            claimed_objective=objective,
            claimed_bound=self.claim(outcome.bound),
            counters={"nodes": outcome.nodes},
            notes={**said, **notes},
        )

    def _reconcile(self, native: float | None) -> float:
        """The objective to claim: the recomputed loss where the solver's word agrees with it."""
        if native is None or not isfinite(native):
            return self.loss
        agrees = abs(native * self.unit - self.loss) <= self.slack(native) * self.unit
        return self.loss if agrees else native * self.unit

"""The certificate: what a mask and a bound are worth, from data alone.

    objective = recomputed from the mask, whatever the solver said: an interval that holds for the
                real numbers behind the data (`benchmarks.verify.objective`)
    gap       = (high - bound) / high  for its upper end, with bound := max(0, bound);
                0 when the objective is 0, 1 when only the trivial bound 0 is there, None without
                an objective

A bound is *checked* when `benchmarks.verify.check` derives it again from a proof, *claimed* when
only the solver says so, *trivial* (0, a squared norm) otherwise; where the objective is 0, the
trivial bound is as good as a checked one. A claimed bound above the objective by more than 1e-6 of
it, or a checked one above its upper end, is false: the row is *wrong*, never a negative gap.
Verdicts: proved (checked bound, gap within tolerance), closed (claimed bound only), feasible (a
legal mask), empty (none), wrong. A loss below the data's resolution is feasible, whatever the gap.
No solver code is imported here.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from enum import StrEnum
from math import fsum, inf, isfinite

import numpy as np

from maskgap.benchmarks.verify.check import Checked, check_part
from maskgap.benchmarks.verify.clock import Clock
from maskgap.benchmarks.verify.objective import (
    WIDTH,
    Loss,
    Score,
    loss_of_weights,
    score_of,
    sum_down,
    total_loss,
)
from maskgap.instances.arrays import Kept, Vector
from maskgap.instances.errors import InputError, ProofError
from maskgap.instances.formats.proof import PartProof
from maskgap.instances.problem import Part

CLAIMED_ALLOWANCE = 1e-6
"""Share of the objective by which a claimed bound may lie above it."""

ROUNDED = 1e-9
"""Share by which the objective of a record without an interval may have been rounded down."""


class BoundKind(StrEnum):
    """Who stands behind a bound."""

    CHECKED = "checked"
    CLAIMED = "claimed"
    TRIVIAL = "trivial"


class Verdict(StrEnum):
    """What a row is worth."""

    PROVED = "proved"
    CLOSED = "closed"
    FEASIBLE = "feasible"
    EMPTY = "empty"
    WRONG = "wrong"


@dataclass(frozen=True, slots=True, repr=False)
class Certificate:
    """Recomputed numbers of one row, in units of the layer's loss; None where there is none.

    loss: the objective as an interval. objective_eval: of the same mask on the held-out Gram, in
    float64. reason: why a verdict is not a better one. Under refit, error_without_ridge: of the
    same weights on the Gram as it is; error_own_weights: the objective at the solver's own weights,
    where it gave some. Both in float64.
    """

    loss: Loss | None
    objective_eval: float | None
    bound: float
    bound_kind: BoundKind
    gap: float | None
    verdict: Verdict
    reason: str = ""
    error_without_ridge: float | None = None
    error_own_weights: float | None = None

    def __repr__(self) -> str:
        gap = "none" if self.gap is None else f"{self.gap:.3g}"
        bound = f"{self.bound_kind} bound {self.bound}"
        return f"Certificate(objective {self.objective}, {bound}, gap {gap}, {self.verdict})"

    @property
    def objective(self) -> float | None:
        """The objective as one number within its interval."""
        return None if self.loss is None else self.loss.value

    @property
    def score(self) -> Score | None:
        """What the mask is worth, None without one."""
        if self.loss is None:
            return None
        return Score(self.loss, self.objective_eval, self.error_without_ridge)

    @property
    def objective_low(self) -> float | None:
        """Lower end of the objective."""
        return None if self.loss is None else self.loss.low

    @property
    def objective_high(self) -> float | None:
        """Upper end of the objective, which gap and verdict are taken from."""
        return None if self.loss is None else self.loss.high


def gap_of(objective: float | None, bound: float | None) -> float | None:
    """The relative gap (objective - bound) / objective as this project defines it.

    None without an objective. A missing or negative bound counts as 0; a bound above the objective
    gives 0 here (whether it is false is for the verdict to say).
    """
    if objective is None or not isfinite(objective):
        return None
    if objective <= 0:
        return 0.0
    least = 0.0 if bound is None or not isfinite(bound) else max(0.0, bound)
    return max(0.0, (objective - least) / objective)


def is_false(bound: float, kind: BoundKind, high: float) -> bool:
    """Whether a bound lies above the loss of a legal mask, at most `high`, as its kind allows."""
    allowance = 0.0 if kind is BoundKind.CHECKED else CLAIMED_ALLOWANCE
    return not bound <= high * (1 + allowance)


def certify_part(
    problem: Part,
    mask: Kept | None,
    claimed_objective: float | None = None,
    claimed_bound: float | None = None,
    proof: PartProof | None = None,
    *,
    tolerance: float = 1e-6,
    recomputed: Score | None = None,
    weights: Vector | None = None,
    clock: Clock | None = None,
    checked: Checked | ProofError | None = None,
) -> Certificate:
    """Judge one answer. mask: (n,), or None. tolerance: relative gap.

    recomputed: what the mask is worth, where the caller has that of many rows; None: it is found
    here. weights: under refit, (n,) what the solver made of those that stay, or None. clock: the
    time that checking the proof may take. checked: what that gave where the caller checked it with
    others. Raises InputError where a loss leaves float64.
    """
    bound, kind, reason = 0.0, BoundKind.TRIVIAL, ""
    if proof is not None:
        try:
            if isinstance(checked, ProofError):
                raise checked
            own = checked or check_part(problem, proof, clock)
            bound, kind = max(0.0, own.bound), BoundKind.CHECKED
        except ProofError as error:
            reason = f"proof rejected: {error}"
        except Exception as error:  # a solver may hand over anything: its row is rejected, no more
            reason = f"proof rejected: {type(error).__name__} while it was checked: {error}"
    if kind is BoundKind.TRIVIAL and claimed_bound is not None and 0.0 < claimed_bound < inf:
        bound, kind = claimed_bound, BoundKind.CLAIMED

    if mask is None:
        return Certificate(None, None, bound, kind, None, Verdict.EMPTY, reason)
    if not is_mask(problem, mask):
        reason = "the mask returned does not meet the budgets"
        return Certificate(None, None, bound, kind, None, Verdict.WRONG, reason)

    score = recomputed or score_of(problem, mask, width_for(tolerance))
    found = standing(score, bound, kind, tolerance)
    if weights is not None and problem.objective.refits:
        try:
            loss = loss_of_weights(problem, mask, weights)
        except InputError as error:
            return replace(found, verdict=Verdict.WRONG, reason=str(error))
        found = replace(found, error_own_weights=loss.value)
    objective = score.loss.value
    if (
        found.verdict is Verdict.CLOSED
        and claimed_objective is not None
        and not _agrees(claimed_objective, objective)
    ):
        reason = f"claims objective {claimed_objective:.12g}, its mask has {objective:.12g}"
        return replace(found, verdict=Verdict.FEASIBLE, reason=reason)
    return replace(found, reason=found.reason or reason)


def is_mask(problem: Part, mask: object) -> bool:
    """Whether something that a solver returned is a legal mask (n,) of a problem."""
    return (
        isinstance(mask, np.ndarray)
        and mask.dtype == np.bool_
        and mask.shape == (problem.n,)
        and problem.legal.is_legal(Kept(mask))
    )


def width_for(tolerance: float) -> float:
    """How wide a loss may be, as a share of it, to be judged by a tolerance."""
    return min(WIDTH, 0.1 * tolerance)


def standing(score: Score | None, bound: float, kind: BoundKind, tolerance: float) -> Certificate:
    """What a recomputed loss (None: no legal mask) and a bound of a kind make together."""
    if score is None:
        return Certificate(None, None, bound, kind, None, Verdict.EMPTY)
    loss = score.loss
    if loss.high == 0.0 and bound == 0.0:
        kind = BoundKind.CHECKED
    gap, verdict, reason = gap_of(loss.high, bound), Verdict.FEASIBLE, loss.reason()
    if is_false(bound, kind, loss.high):
        verdict = Verdict.WRONG
        reason = f"{kind} bound {bound:.12g} lies above the objective {loss.high:.12g} of its mask"
    elif gap is not None and gap <= tolerance and not loss.unresolved:
        verdict = {BoundKind.CHECKED: Verdict.PROVED, BoundKind.CLAIMED: Verdict.CLOSED}.get(
            kind, Verdict.FEASIBLE
        )
    return Certificate(
        loss,
        score.objective_eval,
        bound,
        kind,
        gap,
        verdict,
        reason,
        error_without_ridge=score.error_without_ridge,
    )


def summed(certificates: Sequence[Certificate]) -> Certificate:
    """What rows or parts come to together.

    Sums are None where one is absent; that of bounds is rounded down. bound_kind: the weakest, but
    for trivial bounds, which add nothing that needs a proof; trivial if there are no others.
    verdict: the worst.
    """
    losses = [c.loss for c in certificates if c.loss is not None]
    loss = total_loss(losses) if len(losses) == len(certificates) else None
    bound = sum_down([c.bound for c in certificates])
    worst = max(certificates, key=lambda c: list(Verdict).index(c.verdict))
    return Certificate(
        loss,
        total_of([c.objective_eval for c in certificates]),
        bound,
        _kind_of_sum({c.bound_kind for c in certificates}),
        None if loss is None else gap_of(loss.high, bound),
        worst.verdict,
        worst.reason,
        total_of([c.error_without_ridge for c in certificates]),
        total_of([c.error_own_weights for c in certificates]),
    )


def _kind_of_sum(kinds: set[BoundKind]) -> BoundKind:
    for kind in (BoundKind.CLAIMED, BoundKind.CHECKED):
        if kind in kinds:
            return kind
    return BoundKind.TRIVIAL


def total_of(values: Sequence[float | None]) -> float | None:
    """Their sum, None where one is absent."""
    known = [value for value in values if value is not None]
    return fsum(known) if len(known) == len(values) else None


def _agrees(claimed: float, objective: float) -> bool:
    return abs(claimed - objective) <= CLAIMED_ALLOWANCE * max(abs(claimed), objective)

"""The certificate: what a mask and a bound are worth, from data alone.

    objective = r G r^T recomputed in float64 from the mask, whatever the solver said
    gap       = (objective - bound) / objective  with bound := max(0, bound);
                0 when the objective is 0, 1 when only the trivial bound 0 is there, None without
                an objective

A bound is *checked* when `benchmarks.proof_check` derives it again from a proof, *claimed* when
only the solver says so, *trivial* (0, a squared norm) otherwise. A claimed bound above the
objective by more than 1e-6 of it, or a checked one by more than 1e-9, is false: the row is *wrong*,
never a negative gap. Verdicts: proved (checked bound, gap within tolerance), closed (claimed bound
only), feasible (a legal mask), empty (none), wrong. No solver code is imported here.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from enum import StrEnum
from math import fsum, isfinite

from benchmarks.proof_check import check_row
from benchmarks.record import Record
from instances.errors import ProofError
from instances.groups import Mask
from instances.problem import RowProblem
from instances.proof import RowProof

CLAIMED_ALLOWANCE = 1e-6
CHECKED_ALLOWANCE = 1e-9


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


@dataclass(frozen=True, slots=True)
class Certificate:
    """Recomputed numbers of one row, in units of the layer's loss; None where there is none.

    objective_eval: the same mask on the held-out Gram. reason: why a verdict is not a better one.
    """

    objective: float | None
    objective_eval: float | None
    bound: float
    bound_kind: BoundKind
    gap: float | None
    verdict: Verdict
    reason: str = ""


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


def is_false(bound: float, kind: BoundKind, objective: float) -> bool:
    """Whether a bound lies above the loss of a legal mask by more than its kind allows."""
    allowance = CHECKED_ALLOWANCE if kind is BoundKind.CHECKED else CLAIMED_ALLOWANCE
    return bound > objective * (1 + allowance)


def certify_row(
    problem: RowProblem,
    mask: Mask | None,
    claimed_objective: float | None = None,
    claimed_bound: float | None = None,
    proof: RowProof | None = None,
    tolerance: float = 1e-6,
    recomputed: tuple[float, float | None] | None = None,
) -> Certificate:
    """Judge one answer. mask: (n,) bool, True = kept, or None. tolerance: relative gap.

    recomputed: the mask's loss on the Gram and on the held-out one (None without it) by
    `Problem.losses`, where the caller has those of many rows; None: they are found here.
    """
    bound, kind, reason = 0.0, BoundKind.TRIVIAL, ""
    if proof is not None:
        try:
            bound, kind = max(0.0, check_row(problem, proof).bound), BoundKind.CHECKED
        except ProofError as error:
            reason = f"proof rejected: {error}"
    if kind is BoundKind.TRIVIAL and claimed_bound is not None and isfinite(claimed_bound):
        bound, kind = max(0.0, claimed_bound), BoundKind.CLAIMED

    if mask is None:
        return Certificate(None, None, bound, kind, None, Verdict.EMPTY, reason)
    if mask.shape != (problem.n,) or not problem.legal.is_legal(mask):
        reason = "the mask returned does not meet the budgets"
        return Certificate(None, None, bound, kind, None, Verdict.WRONG, reason)

    if recomputed is None:
        held_out = problem.layer.gram_eval
        recomputed = (
            problem.loss(mask),
            None if held_out is None else problem.loss(mask, held_out),
        )
    objective, objective_eval = recomputed
    found = standing(objective, objective_eval, bound, kind, tolerance)
    if (
        found.verdict is Verdict.CLOSED
        and claimed_objective is not None
        and not _agrees(claimed_objective, objective)
    ):
        reason = f"claims objective {claimed_objective:.12g}, its mask has {objective:.12g}"
        return replace(found, verdict=Verdict.FEASIBLE, reason=reason)
    return replace(found, reason=found.reason or reason)


def standing(
    objective: float | None,
    objective_eval: float | None,
    bound: float,
    kind: BoundKind,
    tolerance: float,
) -> Certificate:
    """What a recomputed objective (None: no legal mask) and a bound of a kind make together."""
    gap, verdict, reason = gap_of(objective, bound), Verdict.FEASIBLE, ""
    if objective is None:
        verdict = Verdict.EMPTY
    elif is_false(bound, kind, objective):
        verdict = Verdict.WRONG
        reason = f"{kind} bound {bound:.12g} lies above the objective {objective:.12g} of its mask"
    elif gap is not None and gap <= tolerance:
        verdict = {BoundKind.CHECKED: Verdict.PROVED, BoundKind.CLAIMED: Verdict.CLOSED}.get(
            kind, Verdict.FEASIBLE
        )
    return Certificate(objective, objective_eval, bound, kind, gap, verdict, reason)


def summed(certificates: Sequence[Certificate]) -> Certificate:
    """What rows or parts come to together.

    Sums are None where one is absent. bound_kind: the weakest. verdict: the worst.
    """
    objective = total_of([c.objective for c in certificates])
    bound = fsum(c.bound for c in certificates)
    worst = max(certificates, key=lambda c: list(Verdict).index(c.verdict))
    return Certificate(
        objective,
        total_of([c.objective_eval for c in certificates]),
        bound,
        min((c.bound_kind for c in certificates), key=list(reversed(BoundKind)).index),
        gap_of(objective, bound),
        worst.verdict,
        worst.reason,
    )


def total_of(values: Sequence[float | None]) -> float | None:
    """Their sum, None where one is absent."""
    known = [value for value in values if value is not None]
    return fsum(known) if len(known) == len(values) else None


def _agrees(claimed: float, objective: float) -> bool:
    return abs(claimed - objective) <= CLAIMED_ALLOWANCE * max(abs(claimed), objective)


def cross_check(records: Sequence[Record]) -> list[Record]:
    """The same records, with the verdict *wrong* on each whose bound another record's mask refutes.

    The best objective of a problem must not lie below any bound stated for it; the reason names
    the run whose mask refutes the bound.
    """
    best: dict[str, Record] = {}
    for record in records:
        if record.objective is not None and record.verdict != Verdict.WRONG:
            least = best.get(record.problem)
            if least is None or least.objective is None or record.objective < least.objective:
                best[record.problem] = record
    judged: list[Record] = []
    for record in records:
        least = best.get(record.problem)
        if (
            least is not None
            and least.objective is not None
            and record.bound is not None
            and record.bound_kind is not None
            and record.verdict != Verdict.WRONG
            and is_false(record.bound, BoundKind(record.bound_kind), least.objective)
        ):
            reason = (
                f"{record.bound_kind} bound {record.bound:.12g} lies above the objective "
                f"{least.objective:.12g} of {least.solver} (seed {least.seed})"
            )
            judged.append(record.model_copy(update={"verdict": "wrong", "reason": reason}))
        else:
            judged.append(record)
    return judged


def best_bounds(records: Sequence[Record]) -> dict[str, Record]:
    """Per problem, the record with the highest checked bound that is not wrong."""
    best: dict[str, Record] = {}
    for record in records:
        if record.bound_kind == BoundKind.CHECKED and record.verdict != Verdict.WRONG:
            held = best.get(record.problem)
            if held is None or (record.bound or 0.0) > (held.bound or 0.0):
                best[record.problem] = record
    return best

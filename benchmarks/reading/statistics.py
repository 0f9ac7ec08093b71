"""Numbers that compare contenders on the same problems; failures count, nothing is left out.

    error ratio     objective / Wanda's objective on the same problem, aggregated by
                    exp(mean(log ratio)). Both zero: 1. A zero on one side only: the ratio is held
                    within [1e-3, 1e3], so one zero can neither vanish nor decide a table. Zero is
                    what lies below 1e-12 of the row's energy (the error of pruning all of it).
                    Only rows where both have a mask have a ratio: their number stands with it.
    ratio to best   the same over the least error known of the problem, of all masks of the run.
    own gap         (objective - own bound) / objective, mean over all problems; without a mask or
                    a bound it is 1. Of a bound-only solver: (least error known - bound) / least.
    certified gap   (objective - best checked bound of the run) / objective, mean over all problems;
                    1 without a mask or without a checked bound.
    time            exp(mean(log(t + s))) - s, shift s = 0.1 s, t = build + solve; a problem not
                    solved or not run counts at the time limit of a row.
    correct rate    of the runs that claim the optimum (claimed bound within tolerance of claimed
                    objective), those whose mask is within 1e-6 of the least error known and which
                    are not wrong.

Who competes, and which run stands for several seeds, is settled in `benchmarks.reading.contest`.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from math import exp, log
from statistics import fmean

from maskgap.benchmarks.reading.contest import Contest, Entry, Fate
from maskgap.benchmarks.verify.certificate import Verdict, gap_of

SHIFT_S = 0.1
SAME = 1e-6
"""Relative difference below which an objective counts as the best known."""

ZERO = 1e-12
"""Share of a row's energy below which an error counts as zero."""

RATIO_LIMIT = 1e3


def shifted_geometric_mean(seconds: Iterable[float], shift: float = SHIFT_S) -> float:
    """exp(mean(log(t + shift))) - shift, in seconds; at least one value is needed."""
    return exp(fmean(log(t + shift) for t in seconds)) - shift


def error_ratio(value: float | None, reference: float | None, energy: float | None) -> float | None:
    """Ratio held within [1e-3, 1e3], 1 when both are zero, None where one is absent.

    energy: the row's, in the units of the other two, or None when the record lacks it.
    """
    if value is None or reference is None:
        return None
    least = ZERO * max(energy or 0.0, 0.0)
    if value <= least:
        return 1.0 if reference <= least else 1 / RATIO_LIMIT
    if reference <= least:
        return RATIO_LIMIT
    return min(max(value / reference, 1 / RATIO_LIMIT), RATIO_LIMIT)


def ratio_to_wanda(contest: Contest, entry: Entry | None, held_out: bool = False) -> float | None:
    """Error ratio of an entry on calibration or held-out data, None where there is none."""
    reference = None if entry is None else contest.reference.get(entry.record.problem)
    if entry is None or entry.objective is None or reference is None:
        return None
    record = entry.record
    if held_out:
        return error_ratio(record.objective_eval, reference.objective_eval, record.energy_eval)
    return error_ratio(record.objective, reference.objective, record.energy)


def certified_gap(contest: Contest, entry: Entry | None) -> float | None:
    """How far a mask can be from the best possible, by checked bounds alone; None without one."""
    if entry is None:
        return None
    return gap_of(entry.objective, contest.checked(entry.record.problem))


def ratio_to_best(contest: Contest, entry: Entry | None) -> float | None:
    """Error over the least error known of the problem, None without a mask."""
    if entry is None:
        return None
    least = contest.least(entry.record.problem)
    return error_ratio(entry.objective, least, entry.record.energy)


def own_gap(contest: Contest, entry: Entry | None) -> float | None:
    """Gap by the solver's own bound, of its mask or (bound-only) of the best mask known."""
    if entry is None:
        return None
    known = contest.least(entry.record.problem) if entry.kind.bound_only else entry.objective
    return gap_of(known, entry.bound)


def claims_optimum(entry: Entry) -> bool:
    """Whether the solver itself says that its mask is the best there is."""
    record = entry.record
    gap = gap_of(record.claimed_objective, record.claimed_bound)
    return record.claimed_bound is not None and gap is not None and gap <= record.gap_tolerance


def is_right(contest: Contest, entry: Entry) -> bool:
    """Whether no other mask is better than the entry's by more than 1e-6 of it."""
    least = contest.least(entry.record.problem)
    if entry.objective is None or least is None:
        return False
    return entry.objective <= least * (1 + SAME) + ZERO * (entry.record.energy or 0.0)


def counted_seconds(contest: Contest, problem: str, entry: Entry | None) -> float:
    """Seconds of building and solving; the limit of a row where it was not solved or not run."""
    if entry is None:
        return contest.limits[problem]
    return entry.seconds if entry.solved else entry.limit_s


@dataclass(frozen=True, slots=True)
class Summary:
    """One contender on the problems of its group. None where there is nothing to say.

    verdicts, fates: counts over the problems. compared, compared_eval: problems behind the error
    ratios. own_kinds: who stands behind its bounds. seconds: shifted geometric mean.
    """

    contender: str
    kind: str
    problems: int
    ran: int
    solved: int
    verdicts: dict[str, int]
    fates: dict[str, int]
    compared: int
    error_ratio: float | None
    compared_eval: int
    error_ratio_eval: float | None
    own_gap: float | None
    own_kinds: tuple[str, ...]
    certified_gap: float | None
    right: int
    claims: int
    seconds: float
    peak_memory_bytes: int | None
    seeds: tuple[int, ...]
    batched: bool


def summarise(contest: Contest) -> list[Summary]:
    """One summary a contender: masks first, then proofs, then bounds; within each the best first.

    Better is more rows solved, then less error, time or gap.
    """
    return sorted((_summary(contest, name) for name in contest.contenders), key=_rank)


def _rank(summary: Summary) -> tuple[int, int, float, str]:
    order = ("mask", "proof", "bound").index(summary.kind)
    least = (summary.error_ratio, summary.seconds, summary.own_gap)[order]
    return (order, -summary.solved, float("inf") if least is None else least, summary.contender)


def _summary(contest: Contest, contender: str) -> Summary:
    kind = contest.kind(contender)
    runs = contest.of(contender)
    entries = [entry for _, entry in runs if entry is not None]
    ratios = [r for e in entries if (r := ratio_to_wanda(contest, e)) is not None]
    held_out = [r for e in entries if (r := ratio_to_wanda(contest, e, True)) is not None]
    fates = [_fate(entry) for _, entry in runs]
    claims = [e for e in entries if claims_optimum(e)]
    memory = [e.record.peak_memory_bytes for e in contest.entries if e.label == contender]
    return Summary(
        contender=contender,
        kind="bound" if kind.bound_only else "proof" if kind.proves else "mask",
        problems=len(runs),
        ran=len(entries),
        solved=sum(e.solved for e in entries),
        verdicts={str(v): sum(e.record.verdict == v for e in entries) for v in Verdict},
        fates={str(fate): fates.count(fate) for fate in Fate},
        compared=len(ratios),
        error_ratio=_geometric(ratios),
        compared_eval=len(held_out),
        error_ratio_eval=_geometric(held_out),
        own_gap=_mean_gap([own_gap(contest, e) for _, e in runs])
        if kind.proves or kind.bound_only or any(e.bound is not None for e in entries)
        else None,
        own_kinds=tuple(sorted({str(e.record.bound_kind) for e in entries if e.bound is not None})),
        certified_gap=None
        if kind.bound_only
        else _mean_gap([certified_gap(contest, e) for _, e in runs]),
        right=sum(is_right(contest, e) for e in claims),
        claims=len(claims),
        seconds=shifted_geometric_mean(counted_seconds(contest, problem, e) for problem, e in runs),
        peak_memory_bytes=max((m for m in memory if m is not None), default=None),
        seeds=tuple(contest.seeds(contender)),
        batched=kind.batched,
    )


def _fate(entry: Entry | None) -> Fate | None:
    """What went wrong; a crash counts even when the run left a mask behind."""
    if entry is None:
        return Fate.NOT_RUN
    return Fate.CRASHED if entry.record.failed and not entry.wrong else entry.fate


def _mean_gap(gaps: Iterable[float | None]) -> float:
    return fmean(1.0 if gap is None else gap for gap in gaps)


def _geometric(ratios: list[float]) -> float | None:
    return exp(fmean(log(r) for r in ratios)) if ratios else None

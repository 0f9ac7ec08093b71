"""Numbers that compare solvers on the same problems; failures count, and nothing is left out.

A group's problems are all those any of its solvers was given. Where a randomised solver has several
seeds on a problem, the record of median objective stands for it. *Solved* means: closed or proved
for a proving solver, a legal mask for a heuristic, a bound above 0 for a bound-only one. A problem
not solved, or not run, counts at the time limit in

    shifted geometric mean  exp(mean(log(t + s))) - s,   shift s = 0.1 s,   t = build + solve,

so a solver that fails cannot look fast. Errors are compared by the geometric mean of
objective / (Wanda's objective) over the problems where both are positive, with that number stated.
"""

from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from math import exp, log
from statistics import fmean, median_low

from benchmarks.certify import Verdict, best_bounds, gap_of
from benchmarks.record import Record
from solvers.registry import SPECS, spec_of

SHIFT_S = 0.1
SAME = 1e-6
"""Relative difference below which an objective counts as the best known."""


def shifted_geometric_mean(seconds: Iterable[float], shift: float = SHIFT_S) -> float:
    """exp(mean(log(t + shift))) - shift, in seconds; at least one value is needed."""
    return exp(fmean(log(t + shift) for t in seconds)) - shift


def by_group(records: Sequence[Record]) -> dict[str, list[Record]]:
    """Records of each group, in the order of first appearance."""
    groups: dict[str, list[Record]] = defaultdict(list)
    for record in records:
        groups[record.group or record.suite].append(record)
    return dict(groups)


def in_order(names: Iterable[str]) -> list[str]:
    """Solver names once each, in the register's order, those outside it last."""
    return sorted(set(names), key=lambda name: (name not in SPECS, [*SPECS, name].index(name)))


def representatives(records: Iterable[Record]) -> dict[tuple[str, str], Record]:
    """(solver, problem) -> its record, or the one of median objective where there are seeds."""
    seeds: dict[tuple[str, str], list[Record]] = defaultdict(list)
    for record in records:
        seeds[record.solver, record.problem].append(record)
    chosen = {}
    for key, several in seeds.items():
        valued = sorted((r for r in several if r.objective is not None), key=_objective)
        chosen[key] = valued[median_low(range(len(valued)))] if valued else several[0]
    return chosen


def _objective(record: Record) -> float:
    return 0.0 if record.objective is None else record.objective


def best_known(records: Iterable[Record]) -> dict[str, Record]:
    """Per problem, the record of least objective that is not wrong."""
    best: dict[str, Record] = {}
    for record in records:
        if record.objective is not None and record.verdict != Verdict.WRONG:
            held = best.get(record.problem)
            if held is None or record.objective < _objective(held):
                best[record.problem] = record
    return best


def seconds_of(record: Record) -> float:
    """Time to the answer: building and solving, without warm-up and certification."""
    return record.build_s + record.solve_s


def has_bound(record: Record) -> bool:
    """Whether somebody stands behind the record's bound and it says more than 0."""
    return record.bound_kind in ("checked", "claimed") and bool(record.bound)


def is_solved(record: Record) -> bool:
    """Whether the run did what its solver is for."""
    if record.verdict == Verdict.WRONG:
        return False
    spec = spec_of(record.solver)
    if spec.bound_only:
        return has_bound(record)
    if spec.proves:
        return record.verdict in (Verdict.PROVED, Verdict.CLOSED)
    return record.objective is not None


def claims_optimum(record: Record) -> bool:
    """Whether the solver itself says that its mask is the best there is."""
    gap = gap_of(record.claimed_objective, record.claimed_bound)
    return gap is not None and gap <= record.gap_tolerance and record.claimed_bound is not None


@dataclass(frozen=True, slots=True)
class Summary:
    """One solver on the problems of one group. None where there is nothing to say.

    error_*: geometric mean ratio to Wanda, calibration and held out, on `compared` problems.
    certified_gap: mean gap of its masks against the best checked bound of anyone. bound_share: mean
    of its own bound / best known objective, of kind `bound_kind`. right, claims: of its claims to
    have the optimum, those not refuted by a better mask.
    """

    solver: str
    problems: int
    ran: int
    solved: int
    verdicts: dict[str, int]
    refused: int
    crashed: int
    compared: int
    error_ratio: float | None
    error_ratio_eval: float | None
    certified_gap: float | None
    bound_share: float | None
    bound_kind: str | None
    right: int
    claims: int
    seconds: float
    peak_memory_bytes: int | None
    seeds: int


def summarise(records: Sequence[Record]) -> list[Summary]:
    """One summary a solver of a group, cross-checked records given, in the register's order."""
    chosen = representatives(records)
    problems = list(dict.fromkeys(r.problem for r in records))
    batched = _batched(records)  # their limit is that of all rows together
    limits = {r.problem: r.time_limit_s for r in records}
    limits |= {r.problem: r.time_limit_s for r in records if r.solver not in batched}
    best, bounds = best_known(records), best_bounds(records)
    solvers = in_order(r.solver for r in records)
    return [_summary(solver, problems, limits, chosen, best, bounds, records) for solver in solvers]


def _batched(records: Iterable[Record]) -> set[str]:
    """Solvers whose limit is that of a whole batch."""
    return {r.solver for r in records if spec_of(r.solver).batched}


def _summary(
    solver: str,
    problems: list[str],
    limits: dict[str, float],
    chosen: dict[tuple[str, str], Record],
    best: dict[str, Record],
    bounds: dict[str, Record],
    records: Sequence[Record],
) -> Summary:
    mine = {p: chosen[solver, p] for p in problems if (solver, p) in chosen}
    ratios: list[float] = []
    ratios_eval: list[float] = []
    gaps, shares, kinds, times = [], [], set(), []
    right = claims = 0
    for problem in problems:
        record = mine.get(problem)
        solved = record is not None and is_solved(record)
        times.append(seconds_of(record) if record is not None and solved else limits[problem])
        if record is None:
            continue
        top = best.get(problem)
        wanda = chosen.get(("wanda", problem))
        if record.objective is not None and record.verdict != Verdict.WRONG:
            if wanda is not None:
                _add_ratio(ratios, record.objective, wanda.objective)
                _add_ratio(ratios_eval, record.objective_eval, wanda.objective_eval)
            if problem in bounds:
                gap = gap_of(record.objective, bounds[problem].bound)
                gaps.append(0.0 if gap is None else gap)
        if has_bound(record) and top is not None and _objective(top) > 0:
            shares.append((record.bound or 0.0) / _objective(top))
            kinds.add(str(record.bound_kind))
        if claims_optimum(record):
            claims += 1
            truth = top is None or _objective(record) <= _objective(top) * (1 + SAME)
            right += truth and record.objective is not None
    verdicts = {v: sum(r.verdict == v for r in mine.values()) for v in Verdict}
    memory = [r.peak_memory_bytes for r in mine.values() if r.peak_memory_bytes is not None]
    return Summary(
        solver=solver,
        problems=len(problems),
        ran=len(mine),
        solved=sum(is_solved(r) for r in mine.values()),
        verdicts={str(v): count for v, count in verdicts.items()},
        refused=sum(r.stop == "refused" for r in mine.values()),
        crashed=sum(r.failed for r in mine.values()),
        compared=len(ratios),
        error_ratio=_geometric(ratios),
        error_ratio_eval=_geometric(ratios_eval),
        certified_gap=fmean(gaps) if gaps else None,
        bound_share=fmean(shares) if shares else None,
        bound_kind=" and ".join(sorted(kinds)) or None,
        right=int(right),
        claims=claims,
        seconds=shifted_geometric_mean(times),
        peak_memory_bytes=max(memory, default=None),
        seeds=len({r.seed for r in records if r.solver == solver}),
    )


def _add_ratio(ratios: list[float], mine: float | None, reference: float | None) -> None:
    if mine is not None and reference is not None and mine > 0 and reference > 0:
        ratios.append(mine / reference)


def _geometric(ratios: list[float]) -> float | None:
    return exp(fmean(log(r) for r in ratios)) if ratios else None


def mixtures(records: Sequence[Record]) -> list[str]:
    """What differs between the records of one table and makes its times incomparable."""
    found = []
    limits = {r.time_limit_s for r in records if r.solver not in _batched(records)}
    for what, values in (
        ("time limits (s)", limits),
        ("threads", {r.threads for r in records}),
        ("devices", {r.device for r in records}),
        ("processors", {str(r.host.get("processor", "unknown")) for r in records}),
        ("gap tolerances", {r.gap_tolerance for r in records}),
    ):
        if len(values) > 1:
            found.append(f"{what}: {', '.join(sorted(map(str, values)))}")
    return found

"""Who competes, and on what: the one view of a group that its table and its figures share.

The problems of a group are all those any of its solvers was given; every contender is judged on all
of them, and a run that is missing is a failure that says so. A *contender* is a solver, or a solver
with what tells its runs apart (settings, limit, threads, device, versions; see
`benchmarks.reading.labels`) where a group holds several of these: two settings are two rows, never
two seeds. What seeds differ in is settled by their median: the run of median objective stands for
them, a run without a mask counting as infinite, and of two middle ones the worse.

Best masks and best checked bounds are taken over all records of the run, not those of the group.
A solver that was not installed is no contender: it is named once, beside the rest.

Runs under different objectives are never in one group: what is minimised under refit, with its
ridge, stands in the group's name.
"""

from collections import Counter, defaultdict
from collections.abc import Container, Iterable, Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from math import inf

from maskgap.benchmarks.reading.labels import Rank, change_rank, labels, several_settings
from maskgap.benchmarks.runs.cross_check import best_bounds
from maskgap.benchmarks.runs.record import Record
from maskgap.benchmarks.verify.certificate import Verdict


class Fate(StrEnum):
    """Why a contender has no mask for a problem."""

    WRONG = "wrong"
    CRASHED = "crashed"
    REFUSED = "refused"
    NO_MASK = "no mask"
    NOT_RUN = "not run"


@dataclass(frozen=True, slots=True)
class Kind:
    """What a solver is, by its record. gives: mask, proof, claim or bound. summary: '' if unknown.

    batched: whether it takes all rows at once.
    """

    gives: str
    batched: bool
    summary: str

    @property
    def proves(self) -> bool:
        """Whether its bound may reach the optimum, with a proof or by its word."""
        return self.gives in ("proof", "claim")

    @property
    def bound_only(self) -> bool:
        """Whether it gives a bound and no mask of its own."""
        return self.gives == "bound"


def kind_of(record: Record) -> Kind:
    """The kind that a record states; one of masks where it states none."""
    return Kind(record.gives or "mask", bool(record.batched), record.summary)


@dataclass(frozen=True, slots=True, eq=False)
class Entry:
    """A record in a contest. label: the contender's name. limit_s: seconds for one row."""

    record: Record
    label: str
    limit_s: float

    @property
    def kind(self) -> Kind:
        """What kind of solver ran."""
        return kind_of(self.record)

    @property
    def wrong(self) -> bool:
        """Whether a claim or mask of the run was refuted: nothing it says counts then."""
        return self.record.verdict == Verdict.WRONG

    @property
    def objective(self) -> float | None:
        """Recomputed error of a legal mask, None without one or when the row is wrong."""
        return None if self.wrong else self.record.objective

    @property
    def bound(self) -> float | None:
        """A bound that somebody stands behind; None for the trivial one and when refuted."""
        stated = self.record.bound_kind in ("checked", "claimed") and not self.wrong
        return self.record.bound if stated else None

    @property
    def seconds(self) -> float:
        """Building and solving, without warm-up and certification; a batch's is its own total."""
        return self.record.build_s + self.record.solve_s

    @property
    def solved(self) -> bool:
        """Whether the run did what its solver is for.

        Proving solvers: closed or proved. Bound-only ones: a bound of their own. Others: a mask.
        """
        if self.wrong:
            return False
        if self.kind.bound_only:
            return self.bound is not None
        if self.kind.proves:
            return self.record.verdict in (Verdict.PROVED, Verdict.CLOSED)
        return self.record.objective is not None

    @property
    def fate(self) -> Fate | None:
        """What happened instead of a mask; None where there is one."""
        if self.wrong:
            return Fate.WRONG
        if self.record.objective is not None:
            return None
        return {"crashed": Fate.CRASHED, "refused": Fate.REFUSED}.get(
            self.record.stop, Fate.NO_MASK
        )


@dataclass(frozen=True, slots=True, eq=False)
class Contest:
    """One group. chosen: (contender, problem) to the entry that stands for it; absent: not run.

    best, bounds: per problem the record of the best mask and of the best checked bound, of the
    whole run. reference: Wanda's record per problem. limits: the longest limit of each problem.
    absent: solvers that were not installed, with what installs each; they have no entries.
    """

    name: str
    entries: tuple[Entry, ...]
    contenders: tuple[str, ...]
    problems: tuple[str, ...]
    chosen: Mapping[tuple[str, str], Entry]
    best: Mapping[str, Record]
    bounds: Mapping[str, Record]
    reference: Mapping[str, Record]
    limits: Mapping[str, float]
    absent: Mapping[str, str]

    @property
    def objective(self) -> str:
        """What its problems minimise: 'mask', or 'refit, ridge 0.01'."""
        return self.entries[0].record.minimised

    @property
    def unit(self) -> str:
        """What a problem is: 'rows', or 'layers' where records are sums of rows."""
        return "layers" if any(e.record.rows > 1 for e in self.entries) else "rows"

    def kind(self, contender: str) -> Kind:
        """The kind of solver behind a contender."""
        return next(e.kind for e in self.entries if e.label == contender)

    def of(self, contender: str) -> list[tuple[str, Entry | None]]:
        """Every problem of the group with the contender's entry, None where it was not run."""
        return [(p, self.chosen.get((contender, p))) for p in self.problems]

    def seeds(self, contender: str) -> list[int]:
        """The seeds it ran with, sorted."""
        return sorted({e.record.seed for e in self.entries if e.label == contender})

    def least(self, problem: str) -> float | None:
        """The least error known of a problem."""
        return self.best[problem].objective if problem in self.best else None

    def checked(self, problem: str) -> float | None:
        """The highest checked bound of a problem."""
        return self.bounds[problem].bound if problem in self.bounds else None


def contests(records: Sequence[Record]) -> list[Contest]:
    """A contest for each group of cross-checked records, in the order of first appearance."""
    groups: dict[str, list[Record]] = defaultdict(list)
    for record in records:
        name = record.group or record.suite or "all rows"
        groups[f"{name} ({record.minimised})" if record.refits else name].append(record)
    best, bounds = best_known(records), best_bounds(records)
    return [_contest(name, group, best, bounds) for name, group in groups.items()]


def best_known(records: Iterable[Record]) -> dict[str, Record]:
    """Per problem, the record of least objective that is not wrong; the first of equals."""
    best: dict[str, Record] = {}
    for record in records:
        if record.objective is not None and record.verdict != Verdict.WRONG:
            held = best.get(record.problem)
            if held is None or record.objective < _objective(held):
                best[record.problem] = record
    return best


def _objective(record: Record) -> float:
    return inf if record.objective is None else record.objective


def absent_of(records: Iterable[Record]) -> dict[str, str]:
    """The solvers that were not installed for any of their runs, with what installs each."""
    told: dict[str, set[str]] = defaultdict(set)
    for record in records:
        told[record.solver].add(record.install or "")
    return {solver: min(how) for solver, how in told.items() if "" not in how}


def _contest(
    name: str,
    records: Sequence[Record],
    best: Mapping[str, Record],
    bounds: Mapping[str, Record],
) -> Contest:
    absent = absent_of(records)
    records = [r for r in records if r.solver not in absent] or records
    absent = {} if records[0].solver in absent else absent  # where nothing else is there, all stay
    limits = _row_limits(records)
    named = labels(records, limits)
    entries = tuple(Entry(*parts) for parts in zip(records, named, limits, strict=True))
    several = several_settings(records)
    ordered = sorted(entries, key=lambda entry: _place(entry, several))
    seeds: dict[tuple[str, str], list[Entry]] = defaultdict(list)
    for entry in entries:
        seeds[entry.label, entry.record.problem].append(entry)
    reference: dict[str, Record] = {}
    for entry in entries:
        if entry.record.solver == "wanda" and entry.objective is not None:
            reference.setdefault(entry.record.problem, entry.record)
    return Contest(
        name=name,
        entries=entries,
        contenders=tuple(dict.fromkeys(e.label for e in ordered)),
        problems=tuple(dict.fromkeys(r.problem for r in records)),
        chosen={key: _median(several) for key, several in seeds.items()},
        best=best,
        bounds=bounds,
        reference=reference,
        limits={e.record.problem: e.limit_s for e in sorted(entries, key=lambda e: e.limit_s)},
        absent=absent,
    )


def _place(entry: Entry, several: Container[str]) -> tuple[float, int, str, list[Rank], str]:
    """The register's order as recorded; settings from the default outwards.

    Solvers without a place there come last: those of masks, then of proofs, then of bounds.
    """
    record, kind = entry.record, entry.kind
    place = inf if record.register_place is None else record.register_place
    rank = change_rank(record) if record.solver in several else []
    return place, kind.proves + 2 * kind.bound_only, record.solver, rank, entry.label


def _median(several: Sequence[Entry]) -> Entry:
    order = sorted(several, key=lambda e: inf if e.objective is None else e.objective)
    return order[len(order) // 2]


def _row_limits(records: Sequence[Record]) -> list[float]:
    """Seconds per row: a batched solver's limit is that of its batch, rows x limit."""
    batches = [
        (r.solver, r.solver_version, r.instance, r.pattern, r.seed, r.time_limit_s, r.threads,
         r.device, str(sorted(r.settings.items())))
        for r in records
    ]  # fmt: skip
    sizes: Counter[tuple[object, ...]] = Counter()
    for record, batch in zip(records, batches, strict=True):
        sizes[batch] += record.rows
    return [
        float(f"{record.time_limit_s / (sizes[batch] if kind_of(record).batched else 1):.9g}")
        for record, batch in zip(records, batches, strict=True)
    ]


def heading(contest: Contest) -> str:
    """What the problems of a contest are, under which limits, and how many have a bound."""
    records = [e.record for e in contest.entries]
    columns = sorted({r.n for r in records})
    widths = f"n = {columns[0]}" + (f" to {columns[-1]}" if len(columns) > 1 else "")
    patterns = ", ".join(dict.fromkeys(r.pattern for r in records))
    limits = ", ".join(f"{limit:g}" for limit in sorted({e.limit_s for e in contest.entries}))
    threads = ", ".join(map(str, sorted({r.threads for r in records})))
    bounded = sum(problem in contest.bounds for problem in contest.problems)
    count = f"{len(contest.problems)} {contest.unit}"
    under = f", objective {contest.objective}" if records[0].refits else ""
    return (
        f"{count}, {widths}, patterns {patterns}{under}; limit {limits} s a row, "
        f"{threads} thread{'' if threads == '1' else 's'} a run; checked bounds for {bounded} of "
        f"{count}"
    )


def mixtures(contest: Contest) -> list[str]:
    """What differs between the runs of one contest and makes its times incomparable."""
    entries = contest.entries
    differing = {
        "time limits (s a row)": {f"{e.limit_s:g}" for e in entries},
        "threads": {str(e.record.threads) for e in entries},
        "devices": {e.record.device for e in entries},
        "gap tolerances": {f"{e.record.gap_tolerance:g}" for e in entries},
        "hosts": {_host(e.record) for e in entries},
    }
    return [
        f"{what}: {', '.join(sorted(values))}"
        for what, values in differing.items()
        if len(values) > 1
    ]


def _host(record: Record) -> str:
    """Processor and cores, as far as the record has them."""
    known = record.host
    cores = f" ({known['cores']} cores)" if "cores" in known else ""
    return f"{known.get('processor', 'unknown host')}{cores}"

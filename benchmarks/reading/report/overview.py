"""The run as a whole, for a page: what was run, what came out, how sure it is, with what it ran.

Counts are of *runs* (records) or of *problems* (rows or layers, once for each group that has them),
and say which. Every other number is that of `benchmarks.reading.statistics` and of the tables.
"""

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from statistics import fmean

from maskgap.benchmarks.reading.contest import Contest, Entry, Fate, heading
from maskgap.benchmarks.reading.labels import setting
from maskgap.benchmarks.reading.layer_sums import of_layers, patterns
from maskgap.benchmarks.reading.report.glossary import VERDICTS
from maskgap.benchmarks.reading.statistics import Summary, summarise
from maskgap.benchmarks.reading.tables.ablation import LEGEND as SETTINGS_LEGEND
from maskgap.benchmarks.reading.tables.ablation import ablations
from maskgap.benchmarks.reading.tables.ablation import shown as shown_settings
from maskgap.benchmarks.reading.tables.layers import LEGEND as LAYER_LEGEND
from maskgap.benchmarks.reading.tables.layers import shown_tables
from maskgap.benchmarks.reading.tables.summary import LEGEND, notes, problem_frame, shown_summary
from maskgap.benchmarks.reading.typeset import percent
from maskgap.benchmarks.runs.record import Record
from maskgap.benchmarks.suites.names import suite_names
from maskgap.benchmarks.suites.suite import read_suite

Lines = Sequence[dict[str, str]]


@dataclass(frozen=True, slots=True)
class Table:
    """Lines as people read them, with a caption, what a reader must know, and a legend."""

    caption: str
    about: str
    lines: Lines
    notes: Sequence[str]
    legend: Sequence[str]


@dataclass(frozen=True, slots=True)
class Count:
    """So many of a kind. meaning: in plain words."""

    name: str
    count: int
    meaning: str


@dataclass(frozen=True, slots=True)
class Fault:
    """A run that is wrong or crashed. text: what happened. traceback: '' without one."""

    kind: str
    solver: str
    place: str
    text: str
    traceback: str


@dataclass(frozen=True, slots=True)
class GapCell:
    """A certified gap: the share, and as people read it; both None where there is none."""

    share: float | None
    text: str


@dataclass(frozen=True, slots=True)
class GapTable:
    """Certified gaps, one line a contender and one cell a group with checked bounds."""

    groups: Sequence[str]
    lines: Sequence[tuple[str, Sequence[GapCell]]]
    findings: Sequence[str]


def outcome(entry: Entry) -> str:
    """What a run came to, one word of `VERDICTS`: the worst first, then what it has."""
    if entry.wrong:
        return str(Fate.WRONG)
    if entry.record.failed:
        return str(Fate.CRASHED)
    if entry.kind.bound_only and entry.bound is not None:
        return "bound"
    return str(entry.fate or entry.record.verdict)


def counted(names: Iterable[str]) -> list[Count]:
    """How many of each outcome there are, in the order of `VERDICTS`; none of a kind is left out.

    A word that is not known there comes last.
    """
    counts = Counter(names)
    order = [*VERDICTS, *sorted(set(counts) - set(VERDICTS))]
    return [Count(n, counts[n], VERDICTS.get(n, "")) for n in order if counts[n]]


def run_counts(groups: Sequence[Contest]) -> list[Count]:
    """Outcomes of all runs of all seeds, and of those that are missing."""
    missing = sum(s.fates[str(Fate.NOT_RUN)] for c in groups for s in summarise(c))
    names = [outcome(entry) for contest in groups for entry in contest.entries]
    return counted([*names, *[str(Fate.NOT_RUN)] * missing])


def problem_counts(groups: Sequence[Contest]) -> list[Count]:
    """The verdict on each problem, by all of its runs together."""
    return counted(str(v) for contest in groups for v in problem_frame(contest)["verdict"])


def place_of(record: Record) -> str:
    """Which problem a record is about."""
    rows = f"rows {record.row} to {record.row + record.rows - 1}" if record.rows > 1 else (
        f"row {record.row}"
    )  # fmt: skip
    under = f", {record.minimised}" if record.refits else ""
    return f"{record.instance}, {rows}, {record.pattern}{under}"


def faults(groups: Sequence[Contest]) -> list[Fault]:
    """Wrong runs, then crashed ones, in the order of the records."""
    found = []
    for contest in groups:
        for entry in contest.entries:
            record, kind = entry.record, outcome(entry)
            if kind not in (Fate.WRONG, Fate.CRASHED):
                continue
            text = record.reason or record.exception or "no reason is on record"
            solver = f"{entry.label}, seed {record.seed}" if record.seed else entry.label
            found.append(Fault(kind, solver, place_of(record), text, record.traceback or ""))
    return sorted(found, key=lambda fault: fault.kind != Fate.WRONG)


def solver_tables(groups: Sequence[Contest]) -> list[Table]:
    """One table a group: a line a solver."""
    return [Table(c.name, heading(c), _told(shown_summary(c)), notes(c), LEGEND) for c in groups]


def _told(lines: Lines) -> Lines:
    """Lines without the columns in which nothing is told; that of failures always stays."""
    kept = [name for name in lines[0] if any(line[name] != "-" for line in lines)]
    return [{k: v for k, v in line.items() if k in kept or k == "failed"} for line in lines]


def further_tables(groups: Sequence[Contest]) -> list[Table]:
    """What settings gain, and sums over whole layers, where the records are of that kind."""
    settings = [
        Table(f"{a.contest.name}: settings of {a.solver}", a.heading(), shown_settings(a), (),
              SETTINGS_LEGEND)
        for a in ablations(groups)
    ]  # fmt: skip
    layers = [
        Table(f"{contest.name}, {pattern}: {what}", heading(contest), lines, (), LAYER_LEGEND)
        for contest in groups
        if of_layers(contest)
        for pattern in patterns(contest)
        for what, lines in shown_tables(contest, pattern)
        if lines
    ]
    return [*settings, *layers]


def gap_table(groups: Sequence[Contest]) -> GapTable:
    """Certified gaps by contender, least first, over the groups that have a checked bound."""
    bounded = [c for c in groups if any(problem in c.bounds for problem in c.problems)]
    found: dict[str, dict[int, Summary]] = {}
    for place, contest in enumerate(bounded):
        for summary in summarise(contest):
            if summary.certified_gap is not None:
                found.setdefault(summary.contender, {})[place] = summary
    ordered = sorted(found.items(), key=lambda item: (-len(item[1]), _middle(item[1].values())))
    lines = [
        (name, [_cell(own.get(place)) for place in range(len(bounded))]) for name, own in ordered
    ]
    heads = [f"{c.name} ({_bounded(c)} of {len(c.problems)} {c.unit} bounded)" for c in bounded]
    findings = [text for c in bounded if (text := _finding(c))]
    return GapTable(heads, lines, findings)


def _bounded(contest: Contest) -> int:
    return sum(problem in contest.bounds for problem in contest.problems)


def _middle(summaries: Iterable[Summary]) -> float:
    return fmean(1.0 if s.certified_gap is None else s.certified_gap for s in summaries)


def _cell(summary: Summary | None) -> GapCell:
    share = None if summary is None else summary.certified_gap
    return GapCell(share, percent(share))


def _finding(contest: Contest) -> str:
    """The least certified gap of a group that any contender has, in a sentence."""
    held = [(s.certified_gap, s) for s in summarise(contest) if s.certified_gap is not None]
    if not held:
        return ""
    least = min(gap for gap, _ in held)
    alike = [s.contender for gap, s in held if percent(gap) == percent(least)]
    wanda = next((percent(gap) for gap, s in held if s.contender == "wanda"), None)
    beside = "" if wanda is None or "wanda" in alike else f"lower than wanda's by more than {wanda}"
    if percent(least) == "0 %":
        said = f"every mask of {_listed(alike)} is certainly the best possible"
        also = f"; on average none has an error {beside}"
    else:
        said = (
            f"the least gap is that of {_listed(alike)}: on average no mask has an error lower "
            f"by more than {percent(least)}"
        )
        also = f", and none {beside}"
    return f"{contest.name}: {said}{also if beside else ''}."


def _listed(names: Sequence[str], most: int = 4) -> str:
    """Names in a sentence; what is beyond `most` is counted."""
    if len(names) > most:
        return f"{', '.join(names[: most - 1])} and {len(names) - most + 1} others"
    return " and ".join(part for part in (", ".join(names[:-1]), names[-1]) if part)


def descriptions(records: Sequence[Record]) -> list[tuple[str, str]]:
    """Each suite's name and description; '' for one that does not ship with the package.

    Records hold the name alone, so a suite of a shipped name must have the shipped suite's groups.
    """
    found = []
    for name in dict.fromkeys(r.suite for r in records):
        groups = {r.group for r in records if r.suite == name}
        text = ""
        if name in suite_names():
            suite = read_suite(name)
            if groups <= {group.name for group in suite.groups}:
                text = suite.description
        found.append((name, text))
    return found


def moments(records: Sequence[Record]) -> tuple[str, str] | None:
    """When the first and the last run started, as the records say; None when they do not."""
    known = sorted(
        r.started.replace("T", " ").replace("+00:00", " UTC") for r in records if r.started
    )
    return (known[0], known[-1]) if known else None


def environments(records: Sequence[Record]) -> list[tuple[dict[str, str], int]]:
    """Each combination of host, packages, threads and device, with its number of runs."""
    counts: Counter[tuple[tuple[str, str], ...]] = Counter()
    for r in records:
        host = {
            "processor": r.host.get("processor"),
            "cores": r.host.get("cores"),
            "memory": f"{r.host['memory_gib']} GiB" if "memory_gib" in r.host else None,
            "system": " ".join(str(r.host[k]) for k in ("system", "machine") if k in r.host),
            "python": r.host.get("python"),
        }
        own = {**host, "threads a run": r.threads, "device": r.device, **r.packages}
        counts[tuple((k, str(v)) for k, v in own.items() if v not in (None, ""))] += 1
    return [(dict(pairs), count) for pairs, count in counts.items()]


def contender_lines(groups: Sequence[Contest]) -> list[dict[str, str]]:
    """What each contender is and runs with, once for each set of settings and versions."""
    lines: dict[tuple[str, ...], dict[str, str]] = {}
    for contest in groups:
        first: dict[str, Entry] = {}
        for entry in contest.entries:
            first.setdefault(entry.label, entry)
        for label in contest.contenders:
            if label not in first:
                continue
            record, kind = first[label].record, first[label].kind
            line = {
                "solver": label,
                "gives": "bound" if kind.bound_only else "mask, bound" if kind.proves else "mask",
                "what it does": kind.summary or "-",
                "limit (s a row)": f"{first[label].limit_s:g}",
                "seeds": ", ".join(map(str, contest.seeds(label))),
                "version": record.solver_version or "-",
                "settings": ", ".join(setting(*s) for s in record.settings.items()) or "-",
            }
            lines.setdefault(tuple(line.values()), line)
    return list(lines.values())

"""What a solver gains from each of its settings, in groups where it ran with several of them.

A line is one choice of settings, named by what it changes of the solver's default
(`benchmarks.reading.labels`) and compared, on the rows of its group, with the *base*: the default,
or where that did not run the choice from which the others differ in the fewest settings.

    nodes, oracle calls     exp(mean(log(c + 10))) - 10 over the rows whose run has the count c
    time                    as in `benchmarks.reading.statistics`: a row not solved counts at its
    limit time / base             exp(mean(log((t + s) / (t_base + s)))), t as above, s = 0.1 s
    spent                   the mean of `time` over what the runs took, whether they solved or not

A run cut off at its limit would have needed more. So the counts of a choice with unsolved rows are
lower estimates, and so are its times and ratios while the base solved every row.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from math import exp, log
from statistics import fmean
from typing import TYPE_CHECKING

from maskgap.benchmarks.reading.contest import Contest, Fate, contests, heading
from maskgap.benchmarks.reading.labels import DEFAULT, differences, setting, several_settings
from maskgap.benchmarks.reading.statistics import (
    SHIFT_S,
    Summary,
    counted_seconds,
    shifted_geometric_mean,
    summarise,
)
from maskgap.benchmarks.reading.typeset import latex, markdown, percent, seconds
from maskgap.benchmarks.runs.record import Record

if TYPE_CHECKING:
    import pandas as pd

SHIFT_COUNT = 10.0
"""Shift of the mean of counts: trees of a handful of nodes are alike."""

MANY = 4
"""Of a solver with more settings than this in a group, most figures show the base alone."""

LEGEND = (
    "one line a choice of settings, named by what it changes of the default; the first is the base "
    "of the comparison",
    "solved: rows proved or closed within the limit (a mask, a bound, for solvers that give no "
    "more)",
    "nodes, oracle calls: shifted geometric mean (10) over the rows; ≥: some rows were cut off",
    "time: shifted geometric mean (0.1 s) of build + solve, unsolved rows at the limit; time / "
    "base: geometric mean over the rows of the ratio of shifted times; ≥: unsolved rows would have "
    "taken longer; spent: the mean time until a run ended, solved or not, instead of the two where "
    "the base left most rows unsolved",
    "own gap: mean of (error - own bound) / error when the run ended",
)


@dataclass(frozen=True)
class Choice:
    """One contender: its changes of the default, its numbers, None where there are none.

    nodes, calls: shifted geometric means. spent: seconds. ratio: of time to that of the base.
    """

    changes: Mapping[str, object]
    summary: Summary
    nodes: float | None
    calls: float | None
    spent: float | None
    ratio: float

    @property
    def cut(self) -> bool:
        """Whether some row was not solved."""
        return self.summary.solved < self.summary.problems


@dataclass(frozen=True)
class Ablation:
    """The choices of one solver in one contest, the base first, then by setting."""

    contest: Contest
    solver: str
    choices: tuple[Choice, ...]

    @cached_property
    def common(self) -> dict[str, object]:
        """What every choice changes of the default, and changes alike."""
        first, *others = (choice.changes for choice in self.choices)
        return {k: v for k, v in first.items() if all(k in o and o[k] == v for o in others)}

    @property
    def _defaults(self) -> Mapping[str, object]:
        """All settings of the solver's default, none where no record states them."""
        stated = (e.record.defaults for e in self.contest.entries if e.record.solver == self.solver)
        return next((own for own in stated if own is not None), {})

    def name(self, choice: Choice) -> str:
        """What a choice changes besides what all do; the value kept, where one setting varies."""
        common = {DEFAULT, *(setting(*item) for item in self.common.items())}
        _, _, parts = choice.summary.contender.removesuffix("]").partition(" [")
        own = [part for part in parts.split(", ") if part not in common]
        varying = {k for c in self.choices for k in c.changes if k not in self.common}
        kept = self._defaults
        if not own and len(varying) == 1 and varying <= set(kept):
            (name,) = varying
            return f"{setting(name, kept[name])} ({DEFAULT})"
        return ", ".join(own) or DEFAULT

    @property
    def timed(self) -> bool:
        """Whether the base solved at least half of its rows: else all times are but limits."""
        base = self.choices[0].summary
        return 2 * base.solved >= base.problems

    def heading(self) -> str:
        """Solver, what all its choices change of the default, and rows in a line."""
        kept = ", ".join(setting(*item) for item in self.common.items())
        common = f", all with {kept}" if kept else ""
        return f"{self.solver}{common}; {heading(self.contest)}"


def ablations(groups: Iterable[Contest]) -> list[Ablation]:
    """One for each solver that ran with several settings, group by group."""
    return [_ablation(contest, solver) for contest in groups for solver in _solvers(contest)]


def _solvers(contest: Contest) -> list[str]:
    several = several_settings([entry.record for entry in contest.entries])
    return [s for s in dict.fromkeys(e.record.solver for e in contest.entries) if s in several]


def _changes(contest: Contest, solver: str) -> dict[str, dict[str, object]]:
    """The changes of each contender of a solver, the base first, then as the contest has them."""
    first: dict[str, Record] = {}
    for entry in contest.entries:
        if entry.record.solver == solver:
            first.setdefault(entry.label, entry.record)
    found = {c: differences(first[c]) for c in contest.contenders if c in first}

    def distance(contender: str) -> tuple[bool, int, int]:
        """Whether it is not the default; settings in which others differ from it; its changes."""
        own = found[contender]
        apart = sum(len(_apart(own, other)) for other in found.values())
        return bool(own), apart, len(own)

    base = min(found, key=distance)
    return {base: found[base], **found}


def _apart(one: Mapping[str, object], other: Mapping[str, object]) -> set[str]:
    """The settings in which two choices differ."""
    return {
        name
        for name in {*one, *other}
        if not (name in one and name in other and one[name] == other[name])
    }


def _ablation(contest: Contest, solver: str) -> Ablation:
    summaries = {summary.contender: summary for summary in summarise(contest)}
    changes = _changes(contest, solver)
    base = next(iter(changes))
    usual = {p: counted_seconds(contest, p, entry) for p, entry in contest.of(base)}
    choices = []
    for contender, own in changes.items():
        runs = contest.of(contender)
        entries = [entry for _, entry in runs if entry is not None]
        choices.append(
            Choice(
                changes=own,
                summary=summaries[contender],
                nodes=_mean_count(e.record.counters.get("nodes") for e in entries),
                calls=_mean_count(e.record.counters.get("oracle_calls") for e in entries),
                spent=shifted_geometric_mean(e.seconds for e in entries) if entries else None,
                ratio=_mean_ratio(
                    (counted_seconds(contest, p, entry), usual[p]) for p, entry in runs
                ),
            )
        )
    return Ablation(contest, solver, tuple(choices))


def _mean_count(counts: Iterable[int | None]) -> float | None:
    known = [float(count) for count in counts if count is not None]
    return shifted_geometric_mean(known, SHIFT_COUNT) if known else None


def _mean_ratio(times: Iterable[tuple[float, float]]) -> float:
    return exp(fmean(log((own + SHIFT_S) / (base + SHIFT_S)) for own, base in times))


def without_crowds(contest: Contest) -> Contest:
    """The contest with the base alone of every solver that has more than `MANY` settings.

    For figures that give each contender a line or a column; the crowd has one of its own.
    """
    crowds = [own for own in (_changes(contest, s) for s in _solvers(contest)) if len(own) > MANY]
    left_out = {contender for own in crowds for contender in [*own][1:]}
    return replace(
        contest,
        contenders=tuple(c for c in contest.contenders if c not in left_out),
        entries=tuple(e for e in contest.entries if e.label not in left_out),
    )


def ablation_frame(ablation: Ablation) -> "pd.DataFrame":
    """One row a choice, plain numbers; the setting column has the whole of what is changed."""
    import pandas as pd

    rows = [
        {
            "group": ablation.contest.name,
            "solver": ablation.solver,
            "settings": " ".join(setting(*item) for item in choice.changes.items()) or DEFAULT,
            "problems": choice.summary.problems,
            "solved": choice.summary.solved,
            "nodes": choice.nodes,
            "oracle calls": choice.calls,
            "time (s)": choice.summary.seconds,
            "time / base": choice.ratio,
            "spent (s)": choice.spent,
            "own gap": choice.summary.own_gap,
            "certified gap": choice.summary.certified_gap,
        }
        for choice in ablation.choices
    ]
    floats = ("nodes", "oracle calls", "time (s)", "time / base", "spent (s)", "own gap",
              "certified gap")  # fmt: skip
    return pd.DataFrame(rows).astype(
        dict.fromkeys(("group", "solver", "settings"), "string")
        | dict.fromkeys(("problems", "solved"), "Int64")
        | dict.fromkeys(floats, "Float64")
    )


def shown(ablation: Ablation) -> list[dict[str, str]]:
    """The lines as people read them, without columns that would be empty or tell nothing."""
    timed, sure = ablation.timed, not ablation.choices[0].cut
    lines = [
        {
            "settings": ablation.name(choice),
            "solved": f"{choice.summary.solved} of {choice.summary.problems}",
            "failed": ", ".join(
                f"{choice.summary.fates[fate]} {fate}"
                for fate in (Fate.WRONG, Fate.CRASHED, Fate.REFUSED, Fate.NOT_RUN)
                if choice.summary.fates[fate]
            ),
            "nodes": _count(choice.nodes, timed and choice.cut),
            "oracle calls": _count(choice.calls, timed and choice.cut),
            "time (s)": _at_least(choice.cut, seconds(choice.summary.seconds)) if timed else "",
            "time / base": _at_least(choice.cut and sure, f"{choice.ratio:.2f}") if timed else "",
            "spent (s)": "" if timed or choice.spent is None else seconds(choice.spent),
            "own gap": _gap(choice.summary),
        }
        for choice in ablation.choices
    ]
    kept = [name for name in lines[0] if any(line[name] for line in lines)]
    return [{name: line[name] or "-" for name in kept} for line in lines]


def _at_least(cut: bool, text: str) -> str:
    return f"≥ {text}" if cut else text


def _count(count: float | None, cut: bool) -> str:
    return "" if count is None else _at_least(cut, f"{count:.0f}")


def _gap(summary: Summary) -> str:
    if summary.own_gap is None:
        return ""
    return percent(summary.own_gap) + (" c" if "claimed" in summary.own_kinds else "")


def render_ablations(records: Sequence[Record], fmt: str) -> str:
    """The tables of cross-checked records as one text in md, csv or latex, '' without any."""
    import pandas as pd

    found = ablations(contests(records))
    if not found:
        return ""
    if fmt == "csv":
        frame = pd.concat([ablation_frame(a) for a in found], ignore_index=True)
        return str(frame.to_csv(index=False, lineterminator="\n"))
    if fmt == "md":
        tables = [f"**{a.contest.name}**: {a.heading()}\n\n{markdown(shown(a))}" for a in found]
        return "\n\n".join([*tables, "\n".join(f"* {line}" for line in LEGEND)])
    captions = [f"{a.contest.name}: {a.heading()}" for a in found]
    return "\n".join(latex(shown(a), c, LEGEND) for a, c in zip(found, captions, strict=True))

"""Tables of a run: for each group one row a contender, and one row a problem.

The definitions are those of `benchmarks.reading.statistics`; each table carries its legend.
Markdown and LaTeX are for people, CSV for programs: its types are explicit (nullable integers,
strings), its numbers have decimal points in any locale, and what is missing is empty, never 0.
"""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from maskgap.benchmarks.reading.contest import Contest, Fate, contests, heading, mixtures
from maskgap.benchmarks.reading.run_directory import Reading, read_run
from maskgap.benchmarks.reading.statistics import Summary, summarise
from maskgap.benchmarks.reading.tables.ablation import render_ablations
from maskgap.benchmarks.reading.tables.layers import render_layers
from maskgap.benchmarks.reading.typeset import latex, markdown, number, percent, seconds
from maskgap.benchmarks.runs.record import Record
from maskgap.benchmarks.verify.certificate import Verdict, gap_of
from maskgap.instances.formats.files import write_atomically
from maskgap.instances.formats.inside import inside

if TYPE_CHECKING:
    import pandas as pd

SUFFIX = {"md": "md", "csv": "csv", "latex": "tex"}

LEGEND = (
    "one line a solver: masks first, then proofs, then bounds; within each by rows solved, then "
    "least error, time, gap",
    "solved: a legal mask (masks), optimum proved or closed (proofs), a bound of its own (bounds)",
    "proved / closed / feasible: optimum by a bound that the independent checker derived again / "
    "by the solver's word alone / a legal mask, optimum or not",
    "error / wanda: geometric mean of the mask's error over that of Wanda's mask on the same row "
    "(below 1 is better); held out: the same on other text; (k): on k rows only, so not comparable",
    "own gap: mean of (error - own bound) / error, c = the bound is only claimed; for bounds: "
    "distance to the least error known; no mask or no bound counts as 100 %",
    "certified gap: mean of (error - best checked bound of anyone) / error: no legal mask can be "
    "better by more; no mask counts as 100 %",
    "correct rate: of the runs that claim the optimum, those that no better mask refutes",
    "time: shifted geometric mean (0.1 s) of build + solve per row, unsolved rows at the limit; "
    "* all rows of a layer at once, their common time",
    "peak: largest resident memory of a run's process",
)

PROBLEM_LEGEND = (
    "error: squared norm of the output error of the row; least error: of all masks of the run",
    "certified gap: (least error - checked bound) / least error",
    "verdict: proved (checked bound meets the least error), closed (a solver claims it), feasible "
    "(a mask), empty (none); wrong: runs whose bound or mask was refuted",
)

_INTEGERS = ("problems", "run", "solved", *map(str, Verdict), "refused", "crashed", "no mask",
             "not run", "compared", "compared held out", "claims correct", "claims")  # fmt: skip
_FLOATS = ("error / wanda", "held out", "own gap", "certified gap", "time (s)", "peak (MiB)")


def summary_frame(contest: Contest) -> "pd.DataFrame":
    """One row a contender. Gaps and ratios are plain numbers; see `reading.statistics`."""
    import pandas as pd

    rows = [_row(contest.name, summary) for summary in summarise(contest)]
    types = dict.fromkeys(("group", "solver", "kind", "own bound", "seeds"), "string")
    return pd.DataFrame(rows).astype(
        types | dict.fromkeys(_INTEGERS, "Int64") | dict.fromkeys(_FLOATS, "Float64")
    )


def _row(group: str, s: Summary) -> dict[str, object]:
    memory = s.peak_memory_bytes
    return {
        "group": group,
        "solver": s.contender,
        "kind": s.kind,
        "problems": s.problems,
        "run": s.ran,
        "solved": s.solved,
        **s.verdicts,
        **{str(f): s.fates[f] for f in (Fate.REFUSED, Fate.CRASHED, Fate.NO_MASK, Fate.NOT_RUN)},
        "error / wanda": s.error_ratio,
        "compared": s.compared,
        "held out": s.error_ratio_eval,
        "compared held out": s.compared_eval,
        "own gap": s.own_gap,
        "own bound": " and ".join(s.own_kinds) or None,
        "certified gap": s.certified_gap,
        "claims correct": s.right,
        "claims": s.claims,
        "time (s)": s.seconds,
        "peak (MiB)": None if memory is None else memory / 2**20,
        "seeds": " ".join(map(str, s.seeds)),
    }


def problem_frame(contest: Contest) -> "pd.DataFrame":
    """One row a problem: the best mask of the run, the best checked bound, gap, verdict."""
    import pandas as pd

    rows = [_problem(contest, problem) for problem in contest.problems]
    strings = ("group", "instance", "pattern", "found by", "bound by", "verdict")
    floats = ("wanda's error", "least error", "checked bound", "certified gap")
    return pd.DataFrame(rows).astype(
        dict.fromkeys(strings, "string")
        | dict.fromkeys(("row", "n", "wrong"), "Int64")
        | dict.fromkeys(floats, "Float64")
    )


def _problem(contest: Contest, problem: str) -> dict[str, object]:
    mine = [e for e in contest.entries if e.record.problem == problem]
    first, best = mine[0].record, contest.best.get(problem)
    wanda, bound = contest.reference.get(problem), contest.bounds.get(problem)
    gap = gap_of(contest.least(problem), contest.checked(problem))
    if best is None:
        verdict = Verdict.EMPTY
    elif bound is not None and gap is not None and gap <= first.gap_tolerance:
        verdict = Verdict.PROVED
    elif any(e.record.verdict == Verdict.CLOSED for e in mine):
        verdict = Verdict.CLOSED
    else:
        verdict = Verdict.FEASIBLE
    return {
        "group": contest.name,
        "instance": first.instance,
        "row": first.row,
        "n": first.n,
        "pattern": first.pattern,
        "wanda's error": None if wanda is None else wanda.objective,
        "least error": contest.least(problem),
        "found by": None if best is None else best.solver,
        "checked bound": contest.checked(problem),
        "bound by": None if bound is None else bound.solver,
        "certified gap": gap,
        "verdict": str(verdict),
        "wrong": sum(e.wrong for e in mine),
    }


def shown_summary(contest: Contest) -> list[dict[str, str]]:
    """The summary as people read it: counts as a of b, shares in percent."""
    return [
        {
            "solver": s.contender + ("*" if s.batched else ""),
            "solved": f"{s.solved} of {s.problems}",
            "proved": str(s.verdicts["proved"] or "-"),
            "closed": str(s.verdicts["closed"] or "-"),
            "feasible": str(s.verdicts["feasible"] or "-"),
            "failed": _failures(s),
            "error / wanda": _on_rows(s.error_ratio, s.compared, s.problems),
            "held out": _on_rows(s.error_ratio_eval, s.compared_eval, s.problems),
            "own gap": percent(s.own_gap) + (" c" if "claimed" in s.own_kinds else ""),
            "certified gap": percent(s.certified_gap),
            "correct rate": f"{s.right} of {s.claims}" if s.claims else "-",
            "time (s)": seconds(s.seconds),
            "peak (MiB)": "-"
            if s.peak_memory_bytes is None
            else number(s.peak_memory_bytes / 2**20, 0),
        }
        for s in summarise(contest)
    ]


def _failures(s: Summary) -> str:
    shown = [fate for fate in Fate if not (s.kind == "bound" and fate is Fate.NO_MASK)]
    counts = {str(fate): s.fates[fate] for fate in shown}
    if s.kind == "bound":
        broken = sum(counts.values())
        counts["no bound"] = s.problems - s.solved - broken
    return ", ".join(f"{count} {what}" for what, count in counts.items() if count > 0) or "-"


def _on_rows(ratio: float | None, compared: int, problems: int) -> str:
    return number(ratio, 3) + (f" ({compared})" if 0 < compared < problems else "")


def notes(contest: Contest) -> list[str]:
    """What a reader must know about a table: seeds, and what makes it less comparable."""
    told = []
    for contender in contest.contenders:
        seeds = contest.seeds(contender)
        if len(seeds) > 1:
            listed = ", ".join(map(str, seeds))
            told.append(f"{contender}: on each row the run of median error of the seeds {listed}.")
    if any(" [" in contender for contender in contest.contenders):
        told.append(
            "In brackets: what a run changes of its solver's default settings, and the limit, "
            "threads, device or version where these differ."
        )
    told += [
        f"{solver} is not installed ({how}) and has no line."
        for solver, how in contest.absent.items()
    ]
    mixed = (f"Mixed in this table, so compare times with care: {m}." for m in mixtures(contest))
    return [*told, *mixed]


def group_table(contest: Contest) -> str:
    """A group's table in Markdown with its heading and notes."""
    first = f"**{contest.name}**: {heading(contest)}"
    return "\n\n".join([first, markdown(shown_summary(contest)), *notes(contest)])


def origin(records: Sequence[Record]) -> str:
    """Where and with what a run was made, in a line."""
    first = records[0]
    return (
        f"Suite `{first.suite}` on {first.host.get('cores', '?')} cores "
        f"({first.host.get('processor', 'unknown')}), Python {first.host.get('python', '?')}, "
        + ", ".join(f"{k} {v}" for k, v in first.packages.items() if k != "maskgap")
        + "."
    )


def page_table(records: Sequence[Record]) -> str:
    """The tables of all groups and where they were made, for the page of reference results."""
    legend = "\n".join(f"* {line}" for line in LEGEND)
    return "\n\n".join([*map(group_table, contests(records)), legend, origin(records)])


def render(records: Sequence[Record], fmt: str, remarks: Sequence[str] = ()) -> str:
    """The summaries of cross-checked records as one text in md, csv or latex.

    remarks: what a reader must know of the records as a whole, below all tables but CSV.
    """
    groups = contests(records)
    if fmt == "csv":
        return _csv([summary_frame(contest) for contest in groups])
    if fmt == "md":
        legend = "\n".join(f"* {line}" for line in LEGEND)
        return "\n\n".join([*map(group_table, groups), *remarks, legend])
    return "\n".join(
        latex(
            shown_summary(contest), f"{contest.name}: {heading(contest)}",
            [*notes(contest), *(remarks if contest is groups[-1] else ()), *LEGEND],
        )
        for contest in groups
    )  # fmt: skip


def render_problems(records: Sequence[Record], fmt: str) -> str:
    """The problem tables of cross-checked records as one text in md, csv or latex."""
    frames = {contest.name: problem_frame(contest) for contest in contests(records)}
    if fmt == "csv":
        return _csv(list(frames.values()))
    shown = {name: shown_problems(frame) for name, frame in frames.items()}
    if fmt == "md":
        parts = [f"**{name}**\n\n{markdown(lines)}" for name, lines in shown.items()]
        return "\n\n".join([*parts, "\n".join(f"* {line}" for line in PROBLEM_LEGEND)])
    return "\n".join(latex(lines, name, PROBLEM_LEGEND) for name, lines in shown.items())


def _csv(frames: "Sequence[pd.DataFrame]") -> str:
    """All groups under one header."""
    import pandas as pd

    return str(pd.concat(frames, ignore_index=True).to_csv(index=False, lineterminator="\n"))


def shown_problems(frame: "pd.DataFrame") -> list[dict[str, str]]:
    """A problem frame as people read it."""
    rows = frame.drop(columns="group").astype(object)
    return [
        {str(k): _cell(str(k), v) for k, v in row.items()}
        for row in rows.where(rows.notna(), None).to_dict("records")
    ]


def _cell(name: str, value: object) -> str:
    if value is None:
        return "-"
    if isinstance(value, float):
        return percent(value) if name == "certified gap" else f"{value:.6g}"
    return str(value)


def write_tables(directory: Path, fmt: str, reading: Reading | None = None) -> list[Path]:
    """Write the tables of a run into `directory`/tables; returns their paths. Raises InputError.

    reading: of the directory; None: it is read here.

    Summary, problems, what settings gain where a solver ran with several, and whole layers by type
    where records are of layers (otherwise an older table of these is removed).
    """
    reading = reading or read_run(directory)
    records = reading.records
    texts: Mapping[str, str] = {
        "summary": render(records, fmt, reading.remarks),
        "problems": render_problems(records, fmt),
        "ablation": render_ablations(records, fmt),
        "layers": render_layers(records, fmt),
    }
    written = []
    for name, text in texts.items():
        path = inside(directory, "tables", f"{name}.{SUFFIX[fmt]}")
        if not text:
            path.unlink(missing_ok=True)
            continue
        write_atomically(path, (text.rstrip() + "\n").encode())
        written.append(path)
    return written

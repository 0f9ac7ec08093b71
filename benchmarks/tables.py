"""Tables of a run: one row a solver for each group, and one row a problem.

The definitions are those of `benchmarks.statistics`; each table carries a legend. Frames have
explicit types (nullable integers, strings), numbers have decimal points in any locale, and what is
missing is empty, never 0.
"""

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from benchmarks.certify import best_bounds, cross_check, gap_of
from benchmarks.record import Record, load_run
from benchmarks.statistics import (
    Summary,
    best_known,
    by_group,
    mixtures,
    summarise,
)
from instances.files import write_atomically
from solvers.registry import spec_of

if TYPE_CHECKING:
    import pandas as pd

SUFFIX = {"md": "md", "csv": "csv", "latex": "tex"}

LEGEND = (
    "solved: optimum closed or proved (proving solvers), a mask (heuristics), a bound (bounds)",
    "proved / closed: bound checked by the independent checker / claimed by the solver alone",
    "error / wanda: geometric mean of error over Wanda's on the same row; held out: other text",
    "certified gap: mean of (error - best checked bound of anyone) / error, at most",
    "bound / best: mean of the solver's own bound over the least error known (c: claimed)",
    "right claims: claims to hold the optimum that no other mask refutes",
    "time: shifted geometric mean of build + solve, shift 0.1 s; unsolved counts at the limit",
)


def summary_frame(records: Sequence[Record]) -> "pd.DataFrame":
    """One row a solver of one group of cross-checked records."""
    import pandas as pd

    rows = [_row(summary) for summary in summarise(records)]
    frame = pd.DataFrame(rows)
    integers = ["solved", "problems", "proved", "closed", "feasible", "empty", "wrong", "refused",
                "crashed", "compared", "right claims", "claims", "seeds"]  # fmt: skip
    return frame.astype(
        dict.fromkeys(integers, "Int64") | {"solver": "string", "bound kind": "string"}
    )


def _row(summary: Summary) -> dict[str, object]:
    memory = summary.peak_memory_bytes
    return {
        "solver": summary.solver,
        "solved": summary.solved,
        "problems": summary.problems,
        "proved": summary.verdicts["proved"],
        "closed": summary.verdicts["closed"],
        "feasible": summary.verdicts["feasible"],
        "empty": summary.verdicts["empty"],
        "wrong": summary.verdicts["wrong"],
        "refused": summary.refused,
        "crashed": summary.crashed,
        "error / wanda": summary.error_ratio,
        "held out": summary.error_ratio_eval,
        "compared": summary.compared,
        "certified gap": summary.certified_gap,
        "bound / best": summary.bound_share,
        "bound kind": summary.bound_kind,
        "right claims": summary.right,
        "claims": summary.claims,
        "time (s)": summary.seconds,
        "peak (MiB)": None if memory is None else memory / 2**20,
        "seeds": summary.seeds,
    }


def problem_frame(records: Sequence[Record]) -> "pd.DataFrame":
    """One row a problem of cross-checked records: best mask, best checked bound, gap."""
    import pandas as pd

    best, bounds = best_known(records), best_bounds(records)
    wanda = {r.problem: r.objective for r in records if r.solver == "wanda"}
    rows = []
    for problem in dict.fromkeys(r.problem for r in records):
        record = best.get(problem) or next(r for r in records if r.problem == problem)
        bound = bounds.get(problem)
        gap = gap_of(record.objective, None if bound is None else bound.bound)
        rows.append(
            {
                "instance": record.instance,
                "row": record.row,
                "n": record.n,
                "pattern": record.pattern,
                "wanda": wanda.get(problem),
                "least error": record.objective,
                "found by": record.solver if record.objective is not None else None,
                "checked bound": None if bound is None else bound.bound,
                "bound by": None if bound is None else bound.solver,
                "gap": gap,
            }
        )
    types = dict.fromkeys(("instance", "pattern", "found by", "bound by"), "string")
    return pd.DataFrame(rows).astype(
        types | {"row": "Int64", "n": "Int64"} | dict.fromkeys(("wanda", "least error"), "Float64")
    )


def _shown_summary(records: Sequence[Record]) -> list[dict[str, str]]:
    """The summary as people read it: counts as a of b, shares in percent."""
    lines = []
    for s in summarise(records):
        kind = {"claimed": " c", "checked and claimed": " c"}.get(s.bound_kind or "", "")
        lines.append(
            {
                "solver": s.solver + (f" ({s.seeds} seeds)" if s.seeds > 1 else ""),
                "solved": f"{s.solved} of {s.problems}",
                "proved": str(s.verdicts["proved"] or "-"),
                "closed": str(s.verdicts["closed"] or "-"),
                "failed": _failures(s),
                "error / wanda": _number(s.error_ratio, 3),
                "held out": _number(s.error_ratio_eval, 3),
                "certified gap": _percent(s.certified_gap),
                "bound / best": _percent(s.bound_share) + kind,
                "right claims": f"{s.right} of {s.claims}" if s.claims else "-",
                "time (s)": f"{s.seconds:.3f}",
                "peak (MiB)": "-"
                if s.peak_memory_bytes is None
                else f"{s.peak_memory_bytes / 2**20:.0f}",
            }
        )
    return lines


def _failures(summary: Summary) -> str:
    counts = {
        "wrong": summary.verdicts["wrong"],
        "crashed": summary.crashed,
        "refused": summary.refused,
        "not run": summary.problems - summary.ran,
    }
    if not spec_of(summary.solver).bound_only:
        counts["no mask"] = summary.verdicts["empty"] - summary.crashed - summary.refused
    return ", ".join(f"{count} {what}" for what, count in counts.items() if count > 0) or "-"


def _number(value: float | None, digits: int) -> str:
    return "-" if value is None else f"{value:.{digits}f}"


def _percent(value: float | None) -> str:
    return "-" if value is None else f"{100 * value:.1f} %"


def _markdown(lines: Sequence[dict[str, str]]) -> str:
    """A table whose columns line up in plain text too."""
    names = list(lines[0])
    widths = {n: max(len(n), *(len(line[n]) for line in lines)) for n in names}

    def row(cells: dict[str, str]) -> str:
        padded = (
            cells[n].ljust(widths[n]) if n == names[0] else cells[n].rjust(widths[n]) for n in names
        )
        return "| " + " | ".join(padded) + " |"

    rule = (("-" * widths[n]) if n == names[0] else "-" * (widths[n] - 1) + ":" for n in names)
    body = [row(line) for line in lines]
    return "\n".join([row({n: n for n in names}), "| " + " | ".join(rule) + " |", *body])


def group_table(name: str, records: Sequence[Record]) -> str:
    """A group's table in Markdown with its heading and what makes it less comparable."""
    first = records[0]
    columns = sorted({r.n for r in records})
    widths = f"n = {columns[0]}" + (f" to {columns[-1]}" if len(columns) > 1 else "")
    problems = len({r.problem for r in records})
    patterns = ", ".join(dict.fromkeys(r.pattern for r in records))
    limit = min(r.time_limit_s for r in records)
    heading = (
        f"**{name}**: {problems} rows, {widths}, patterns {patterns}; limit {limit:g} s a row, "
        f"{first.threads} thread{'s' if first.threads > 1 else ''} a run"
    )
    warnings = [f"Mixed in this table, so compare times with care: {m}" for m in mixtures(records)]
    return "\n\n".join([heading, _markdown(_shown_summary(records)), *warnings])


def readme_table(records: Sequence[Record]) -> str:
    """The tables of all groups and where they were made, for the README."""
    first = records[0]
    place = (
        f"Suite `{first.suite}` on {first.host.get('cores', '?')} cores "
        f"({first.host.get('processor', 'unknown')}), Python {first.host.get('python', '?')}, "
        + ", ".join(f"{k} {v}" for k, v in first.packages.items() if k != "maskgap")
        + "."
    )
    parts = [group_table(name, group) for name, group in by_group(records).items()]
    return "\n\n".join([*parts, place])


def render(records: Sequence[Record], fmt: str) -> str:
    """All summaries as one text in md, csv or latex."""
    if fmt == "md":
        parts = [group_table(name, group) for name, group in by_group(records).items()]
        return "\n\n".join([*parts, "\n".join(f"* {line}" for line in LEGEND)])
    frames = {name: summary_frame(group) for name, group in by_group(records).items()}
    return "\n".join(_formatted(name, frame, fmt) for name, frame in frames.items())


def _formatted(name: str, frame: "pd.DataFrame", fmt: str) -> str:
    if fmt == "csv":
        frame = frame.copy()
        frame.insert(0, "group", name)
        return str(frame.to_csv(index=False))
    return str(
        frame.to_latex(index=False, escape=True, na_rep="--", float_format="%.4g", caption=name)
    )


def problem_table(records: Sequence[Record]) -> str:
    """The problems of a group in Markdown."""
    frame = problem_frame(records)
    lines = [
        {
            str(name): "-" if value is None or value != value else _cell(str(name), value)
            for name, value in row.items()
        }
        for row in frame.astype(object).where(frame.notna(), None).to_dict("records")
    ]
    return _markdown(lines)


def _cell(name: str, value: object) -> str:
    if name == "gap" and isinstance(value, float):
        return _percent(value)
    return f"{value:.6g}" if isinstance(value, float) else str(value)


def write_tables(directory: Path, fmt: str) -> list[Path]:
    """Write summary and problem tables into `directory`/tables; returns their paths."""
    records = cross_check(load_run(directory))
    groups = by_group(records)
    folder = directory / "tables"
    summary, problems = render(records, fmt), ""
    if fmt == "md":
        problems = "\n\n".join(f"**{n}**\n\n{problem_table(g)}" for n, g in groups.items())
    else:
        problems = "\n".join(_formatted(n, problem_frame(g), fmt) for n, g in groups.items())
    written = []
    for name, text in (("summary", summary), ("problems", problems)):
        path = folder / f"{name}.{SUFFIX[fmt]}"
        write_atomically(path, (text.rstrip() + "\n").encode())
        written.append(path)
    return written

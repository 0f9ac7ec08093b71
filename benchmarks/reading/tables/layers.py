"""Tables of whole layers: error reduction against Wanda by layer type, and by swaps a row.

The definitions are those of `benchmarks.reading.layer_sums`; each table carries its legend.
"""

from collections.abc import Sequence
from typing import TYPE_CHECKING

from maskgap.benchmarks.reading.contest import Contest, contests, heading
from maskgap.benchmarks.reading.layer_sums import ALL, Sum, layer_types, of_layers, patterns, sums
from maskgap.benchmarks.reading.typeset import latex, markdown, number
from maskgap.benchmarks.runs.record import Record

if TYPE_CHECKING:
    import pandas as pd

LIMITS = (0, 1, 2, 5, 10, 25, 50, 100)
"""Swaps a row at most, each a column; the last column is the end."""

CUT = "†"

LEGEND = (
    "cells: error reduction, 1 - sum of errors / sum of the errors of Wanda's masks, over all rows "
    "of the layers of a type; below 0: worse than Wanda; (k of m): only k of m layers have masks",
    "held out: the same for all layers on other text",
    "swap [default] starts from Wanda's masks, swap [warm_start=...] from those of that score; a "
    "row that a time limit left no turn stays at its start",
    f"T = 1, 2, ...: after T swaps a row at most; end: no row has a swap left that lowers its "
    f"error, or {CUT} the time limit ended it; all columns are of one run, from its trace",
    "swaps a row: mean over all rows to the end",
    "time: build + solve, summed over the layers",
)


def render_layers(records: Sequence[Record], fmt: str) -> str:
    """The tables of cross-checked records in md, csv or latex; empty without layers' records."""
    groups = [contest for contest in contests(records) if of_layers(contest)]
    if not groups:
        return ""
    if fmt == "csv":
        import pandas as pd

        frames = [layer_frame(contest) for contest in groups]
        return str(pd.concat(frames, ignore_index=True).to_csv(index=False, lineterminator="\n"))
    tables = [
        (f"{contest.name}, {pattern}: {what}", lines)
        for contest in groups
        for pattern in patterns(contest)
        for what, lines in shown_tables(contest, pattern)
    ]
    if fmt == "latex":
        return "\n".join(latex(lines, caption, LEGEND) for caption, lines in tables)
    heads = [f"**{contest.name}**: {heading(contest)}" for contest in groups]
    shown = [f"**{caption}**\n\n{markdown(lines)}" for caption, lines in tables]
    return "\n\n".join([*heads, *shown, "\n".join(f"* {line}" for line in LEGEND)])


def render_summed(records: Sequence[Record]) -> str:
    """In Markdown, by layer type, and by swaps over all layers of a pattern alone."""
    parts = []
    for contest in contests(records):
        if not of_layers(contest):
            continue
        parts.append(f"**{contest.name}**: {heading(contest)}")
        for pattern in patterns(contest):
            found = list(sums(contest, pattern))
            whole = [s for s in found if s.layer_type == ALL]
            named = (("by layer type", by_type(contest, found)), ("by swaps", by_limit(whole)))
            parts += [
                f"**{pattern}: error reduction {what}**\n\n{markdown(lines)}"
                for what, lines in named
                if lines
            ]
    return "\n\n".join([*parts, "\n".join(f"* {line}" for line in LEGEND)])


def shown_tables(contest: Contest, pattern: str) -> list[tuple[str, list[dict[str, str]]]]:
    """What each table of a pattern shows, and its lines as people read them."""
    found = list(sums(contest, pattern))
    named = [("error reduction by layer type", by_type(contest, found))]
    if any(s.most_swaps is not None for s in found):
        named.append(("error reduction by swaps a row", by_limit(found)))
    return named


def by_type(contest: Contest, found: Sequence[Sum]) -> list[dict[str, str]]:
    """One line a contender, most reduction first; one column a layer type with its rows."""
    types = [t for t in layer_types(contest) if any(s.layer_type == t and s.layers for s in found)]
    rows = {t: max(s.rows for s in found if s.layer_type == t) for t in types}
    lines = []
    for contender in contest.contenders:
        mine = {s.layer_type: s for s in found if s.contender == contender}
        whole = mine[ALL]
        order = (-len(whole.entries), -(whole.reduction or 0.0))
        line = {
            "solver": contender + (CUT if whole.cut_off else ""),
            ALL: _cell(whole),
            "held out": _share(whole.reduction_eval),
            **{f"{t} ({rows[t]} rows)": _cell(mine[t]) for t in types},
            "time (s)": number(whole.seconds, 1) if whole.entries else "-",
        }
        lines.append((order, line))
    return [line for _, line in sorted(lines, key=lambda pair: pair[0])]


def by_limit(found: Sequence[Sum]) -> list[dict[str, str]]:
    """One line a layer type and contender that counts swaps; one column a limit."""
    types = list(dict.fromkeys(s.layer_type for s in found))
    told = [s for s in found if s.most_swaps is not None]
    return [
        {
            "layers": s.layer_type,
            "solver": s.contender,
            "start": s.start or "-",
            **{f"T = {limit}": _share(s.reduction_after(limit)) for limit in LIMITS},
            "end": _cell(s) + (CUT if s.cut_off else ""),
            "swaps a row": number(s.swaps_a_row, 1),
        }
        for s in sorted(told, key=lambda s: types.index(s.layer_type))
    ]


def layer_frame(contest: Contest) -> "pd.DataFrame":
    """One row a pattern, layer type, contender and limit; `max swaps` is absent for the end."""
    import pandas as pd

    rows = []
    for pattern in patterns(contest):
        for s in sums(contest, pattern):
            if not s.layers:
                continue
            shared = {
                "group": contest.name,
                "pattern": pattern,
                "layers": s.layer_type,
                "solver": s.contender,
                "rows": s.rows,
                "layers with masks": len(s.entries),
                "layers in all": s.layers,
            }
            limits = LIMITS if s.most_swaps is not None else ()
            rows += [
                {**shared, "max swaps": limit, "reduction": s.reduction_after(limit)}
                for limit in limits
            ]
            rows.append(
                {
                    **shared,
                    "max swaps": None,
                    "reduction": s.reduction,
                    "reduction held out": s.reduction_eval,
                    "swaps a row": s.swaps_a_row,
                    "cut off": s.cut_off,
                    "time (s)": s.seconds,
                }
            )
    integers = ("rows", "layers with masks", "layers in all", "max swaps")
    floats = ("reduction", "reduction held out", "swaps a row", "time (s)")
    return pd.DataFrame(rows).astype(
        dict.fromkeys(("group", "pattern", "layers", "solver"), "string")
        | dict.fromkeys(integers, "Int64")
        | dict.fromkeys(floats, "Float64")
        | {"cut off": "boolean"}
    )


def _cell(s: Sum) -> str:
    partly = 0 < len(s.entries) < s.layers
    return _share(s.reduction) + (f" ({len(s.entries)} of {s.layers})" if partly else "")


def _share(value: float | None) -> str:
    """A share that may be negative, in percent with one digit."""
    return "-" if value is None else f"{100 * value:.1f} %".replace("-0.0 ", "0.0 ")

"""Cells and tables as text: numbers with decimal points in any locale, Markdown, LaTeX.

No number is rounded to a better one: a gap above the tolerance 1e-6 never reads 0 %.
"""

import csv
from collections.abc import Mapping, Sequence
from io import StringIO

NEGLIGIBLE = 1e-6


def number(value: float | None, digits: int) -> str:
    """A number with fixed digits after the point, '-' for None."""
    return "-" if value is None else f"{value:.{digits}f}"


def percent(value: float | None) -> str:
    """A share as '12.3 %', '0 %' up to 1e-6, '<0.1 %' below 0.05 %, '-' for None."""
    if value is None:
        return "-"
    if value <= NEGLIGIBLE:
        return "0 %"
    return "<0.1 %" if value < 0.0005 else f"{100 * value:.1f} %"


def seconds(value: float) -> str:
    """Seconds with three digits after the point; what would read 0 says that it is less."""
    return "<0.001" if value < 0.0005 else f"{value:.3f}"


def csv_text(lines: Sequence[Mapping[str, str]]) -> str:
    """Lines as CSV under one header."""
    file = StringIO()
    writer = csv.DictWriter(file, list(lines[0]), lineterminator="\n")
    writer.writeheader()
    writer.writerows(lines)
    return file.getvalue().rstrip("\n")


def markdown(lines: Sequence[Mapping[str, str]]) -> str:
    """A Markdown table whose columns line up in plain text too; first column to the left."""
    names = list(lines[0])
    rows = [[name.replace("|", r"\|") for name in names]]
    rows += [[line[name].replace("|", r"\|") for name in names] for line in lines]
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    rule = ["-" * widths[0], *("-" * (width - 1) + ":" for width in widths[1:])]
    return "\n".join(
        "| "
        + " | ".join(
            cell.rjust(width) if place else cell.ljust(width)
            for place, (cell, width) in enumerate(zip(row, widths, strict=True))
        )
        + " |"
        for row in (rows[0], rule, *rows[1:])
    )


_LATEX = str.maketrans({
    "\\": r"\textbackslash{}", "&": r"\&", "%": r"\%", "$": r"\$", "#": r"\#", "_": r"\_",
    "{": r"\{", "}": r"\}", "~": r"\textasciitilde{}", "^": r"\textasciicircum{}",
    "<": r"\textless{}", ">": r"\textgreater{}",
})  # fmt: skip


def latex(lines: Sequence[Mapping[str, str]], caption: str, legend: Sequence[str]) -> str:
    """A table environment (needs booktabs) with its legend under it."""
    names = list(lines[0])

    def row(cells: Sequence[str]) -> str:
        return " & ".join(cell.translate(_LATEX) for cell in cells) + r" \\"

    return "\n".join(
        [
            r"\begin{table}",
            rf"\caption{{{caption.translate(_LATEX)}}}",
            rf"\begin{{tabular}}{{l{'r' * (len(names) - 1)}}}",
            r"\toprule",
            row(names),
            r"\midrule",
            *(row([line[name] for name in names]) for line in lines),
            r"\bottomrule",
            r"\end{tabular}",
            *(rf"\par\footnotesize {text.translate(_LATEX)}" for text in legend),
            r"\end{table}",
            "",
        ]
    )

"""`maskgap tables` and `maskgap plot`: what people look at."""

from pathlib import Path

from benchmarks.record import load_run
from instances.errors import InputError

TABLE_FORMATS = ("md", "csv", "latex")
FIGURE_FORMATS = ("png", "pdf", "svg")


def run_tables(directory: Path, fmt: str) -> int:
    """Write and print the tables. Raises InputError."""
    from benchmarks.certify import cross_check
    from benchmarks.layer_tables import render_layers
    from benchmarks.tables import render, write_tables

    _expect(fmt, TABLE_FORMATS)
    records = cross_check(load_run(directory))
    print(render(records, fmt))
    if fmt == "md" and (layers := render_layers(records, fmt)):
        print(f"\n{layers}")
    for path in write_tables(directory, fmt):
        print(path)
    return 0


def run_plot(directory: Path, fmt: str) -> int:
    """Draw the figures and print where they are. Raises InputError."""
    from benchmarks.plots import write_figures

    _expect(fmt, FIGURE_FORMATS)
    for path in write_figures(directory, fmt):
        print(path)
    return 0


def _expect(fmt: str, formats: tuple[str, ...]) -> None:
    if fmt not in formats:
        raise InputError(f"--format {fmt}: expected one of {', '.join(formats)}")

"""`maskgap tables` and `maskgap plot`: what people look at."""

from pathlib import Path

from maskgap.benchmarks.commands.screen import say
from maskgap.instances.errors import InputError
from maskgap.instances.formats.printable import visible

TABLE_FORMATS = ("md", "csv", "latex")
FIGURE_FORMATS = ("png", "pdf", "svg")


def run_tables(directory: Path, fmt: str, against: Path | None = None) -> int:
    """Write the tables and print them; where they lie is said on standard error.

    against: directory of another run, to which the first is compared instead; nothing is written
    then. Raises InputError.
    """
    from maskgap.benchmarks.reading.run_directory import read_run
    from maskgap.benchmarks.reading.tables.comparison import render_comparison
    from maskgap.benchmarks.reading.tables.layers import render_layers
    from maskgap.benchmarks.reading.tables.summary import render, write_tables

    _expect(fmt, TABLE_FORMATS)
    reading = read_run(directory)
    if against is not None:
        other = read_run(against)
        print(render_comparison(reading.records, other.records, fmt))
        for remark in (*reading.remarks, *other.remarks):
            say(remark)
        return 0
    paths = write_tables(directory, fmt, reading)
    print(render(reading.records, fmt, reading.remarks).rstrip("\n"))
    if fmt == "md" and (layers := render_layers(reading.records, fmt)):
        print(f"\n{layers}")
    for line in (*(reading.remarks if fmt == "csv" else ()), *map(str, paths)):
        say(line)
    return 0


def run_plot(directory: Path, fmt: str) -> int:
    """Draw the figures and print where they are. Raises InputError."""
    from maskgap.benchmarks.reading.figures.plots import write_figures
    from maskgap.benchmarks.reading.run_directory import read_run

    _expect(fmt, FIGURE_FORMATS)
    reading = read_run(directory)
    for path in write_figures(directory, fmt, reading):
        print(visible(str(path)))
    for remark in reading.remarks:
        say(remark)
    return 0


def _expect(fmt: str, formats: tuple[str, ...]) -> None:
    if fmt not in formats:
        raise InputError(f"--format {fmt}: expected one of {', '.join(formats)}")

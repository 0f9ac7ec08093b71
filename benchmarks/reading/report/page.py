"""The page: one HTML file that needs no other and no network.

Everything that records hold is text to the page: the template escapes it, the data of the problems
is JSON whose '<', '>', '&' and quotes are escapes, and the script makes elements from it by their
text alone. The page forbids itself to load anything or to run any script but its own, which it
names by its hash. The same records give the same bytes: no time but theirs is in it.
"""

from base64 import b64encode
from collections.abc import Sequence
from hashlib import sha256
from importlib import resources
from pathlib import Path

from maskgap.benchmarks.reading.contest import contests, heading
from maskgap.benchmarks.reading.report import overview
from maskgap.benchmarks.reading.report.drawings import drawings
from maskgap.benchmarks.reading.report.glossary import FIGURES, GLOSSARY
from maskgap.benchmarks.reading.report.problems import STEPS, embedded
from maskgap.benchmarks.reading.run_directory import read_run
from maskgap.benchmarks.reading.tables.summary import PROBLEM_LEGEND
from maskgap.benchmarks.runs.record import Record
from maskgap.instances.formats.files import write_atomically
from maskgap.instances.formats.inside import inside
from maskgap.instances.formats.outputs import Kind, try_file

NAME = "report.html"


def _is_report(path: Path) -> bool:
    with path.open("rb") as file:
        return b"maskgap report</title>" in file.read(1 << 20)


KIND = Kind("report of maskgap", _is_report)


def write_report(directory: Path, out: Path | None = None) -> Path:
    """Write the page of a run's directory to `out`, by default `directory`/report.html.

    Returns its path. Raises InputError.
    """
    reading = read_run(directory)
    path = try_file(out or inside(directory, NAME), KIND)
    write_atomically(path, render_page(reading.records, reading.remarks).encode())
    return path


def render_page(records: Sequence[Record], remarks: Sequence[str] = ()) -> str:
    """The page of cross-checked records. remarks: what a reader must know of them all."""
    import jinja2

    groups = contests(records)
    script = _part("report.js")
    figures, rules = drawings(records)
    environment = jinja2.Environment(
        loader=jinja2.PackageLoader("maskgap.benchmarks.reading.report", ""),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
    )
    environment.policies["json.dumps_kwargs"] = {"separators": (",", ":"), "allow_nan": False}
    return environment.get_template("report.html.j2").render(
        remarks=remarks,
        suites=overview.descriptions(records),
        records=len(records),
        solvers=len({r.solver for r in records}),
        problems=sum(len(c.problems) for c in groups),
        unit="problems" if len({c.unit for c in groups}) > 1 else groups[0].unit,
        bounded=sum(p in c.bounds for c in groups for p in c.problems),
        groups=[(c.name, heading(c)) for c in groups],
        moments=overview.moments(records),
        faults=overview.faults(groups),
        by_problem=overview.problem_counts(groups),
        by_run=overview.run_counts(groups),
        gaps=overview.gap_table(groups),
        tables=overview.solver_tables(groups),
        further=overview.further_tables(groups),
        figures=[(f, *FIGURES.get(f.name, (f.name, ""))) for f in figures],
        problem_legend=PROBLEM_LEGEND,
        steps=STEPS,
        data=embedded(groups),
        contenders=overview.contender_lines(groups),
        environments=overview.environments(records),
        glossary=GLOSSARY,
        style=_part("report.css"),
        rules=rules,
        script=script,
        script_hash=b64encode(sha256(script.encode()).digest()).decode(),
    )


def _part(name: str) -> str:
    """A file of the page that ships beside this module."""
    return (resources.files(__package__) / name).read_text(encoding="utf-8")

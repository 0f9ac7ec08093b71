"""Figures of a run, each in its own file under `benchmarks.reading.figures`.

    error      each mask's error over Wanda's on the same row
    gap        certified gap of each mask, and the gap by the solver's own bound
    profile    share of rows closed or proved, and within 1 %, within t seconds
    anytime    gap of the best mask and the best bound so far to the best known error
    growth     time to solve a row, and nodes, against n
    choices    time and nodes of each choice of settings over those of the default
    swaps      error of whole layers over Wanda's against swaps a row
    swap-time  the same against time

`choices` is drawn only where a solver ran with several settings. Where it ran with many, those
above it show its default alone. The last two are drawn only of layers' records that count swaps.

Every record is somewhere in them: zeros, failures, wrong rows and rows not run have lanes of their
own. The definitions of the numbers are those of `benchmarks.reading.statistics`; the same records
give the same files.
"""

import warnings
from collections.abc import Callable, Iterator, Sequence
from io import BytesIO
from pathlib import Path
from typing import TYPE_CHECKING

from maskgap.benchmarks.reading.contest import Contest, contests
from maskgap.benchmarks.reading.figures.anytime import anytime_figure
from maskgap.benchmarks.reading.figures.choices import choices_figure
from maskgap.benchmarks.reading.figures.columns import error_figure, gap_figure
from maskgap.benchmarks.reading.figures.growth import growth_figure
from maskgap.benchmarks.reading.figures.profile import profile_figure
from maskgap.benchmarks.reading.figures.swaps import swap_time_figure, swaps_figure
from maskgap.benchmarks.reading.run_directory import Reading, read_run
from maskgap.benchmarks.reading.tables.ablation import without_crowds
from maskgap.benchmarks.runs.record import Record
from maskgap.instances.formats.files import write_atomically
from maskgap.instances.formats.inside import inside

if TYPE_CHECKING:
    from matplotlib.figure import Figure

FIGURES: dict[str, Callable[[Sequence[Contest]], "Figure | None"]] = {
    "error": error_figure,
    "gap": gap_figure,
    "profile": profile_figure,
    "anytime": anytime_figure,
    "growth": growth_figure,
    "choices": choices_figure,
    "swaps": swaps_figure,
    "swap-time": swap_time_figure,
}

_EVERY_SETTING = (choices_figure, swaps_figure, swap_time_figure)
"""Figures that show all settings of a solver, however many."""

_METADATA: dict[str, dict[str, str | None]] = {
    "png": {"Software": None},
    "pdf": {"CreationDate": None},
    "svg": {"Date": None},
}


def write_figures(directory: Path, fmt: str, reading: Reading | None = None) -> list[Path]:
    """Draw the figures of a run into `directory`/figures as png, pdf or svg; returns the paths.

    reading: of the directory; None: it is read here. A figure that has nothing to show is left
    out, and an older one of it removed. Raises InputError.
    """
    written = []
    for name, data in drawn((reading or read_run(directory)).records, fmt):
        path = inside(directory, "figures", f"{name}.{fmt}")
        if data is None:
            path.unlink(missing_ok=True)
            continue
        write_atomically(path, data)
        written.append(path)
    return written


def drawn(records: Sequence[Record], fmt: str) -> Iterator[tuple[str, bytes | None]]:
    """Name and file of each figure of cross-checked records, None where it has nothing to show."""
    import matplotlib

    groups = contests(records)
    plain = [without_crowds(contest) for contest in groups]
    with (
        matplotlib.rc_context({"svg.hashsalt": "maskgap", "pdf.fonttype": 42}),
        warnings.catch_warnings(),
    ):
        # a name may have characters that the font lacks; a reader of an SVG has them
        warnings.filterwarnings("ignore", message="Glyph .* missing from font")
        for name, draw in FIGURES.items():
            figure = draw(groups if draw in _EVERY_SETTING else plain)
            if figure is None:
                yield name, None
                continue
            file = BytesIO()
            figure.savefig(file, format=fmt, dpi=130, metadata=_METADATA[fmt])
            yield name, file.getvalue()

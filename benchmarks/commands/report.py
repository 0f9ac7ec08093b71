"""`maskgap report`: a run as one page."""

from pathlib import Path


def run(directory: Path, out: Path | None) -> int:
    """Write the page and print its path. Raises InputError."""
    from maskgap.benchmarks.reading.report.page import write_report

    print(write_report(directory, out))
    return 0

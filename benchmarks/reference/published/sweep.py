"""All published cases by every solver that is installed: many hours, in which it may be stopped.

What a directory has a record of is not run again.
"""

from pathlib import Path

from maskgap.benchmarks.reference.published import page, records


def main(directory: Path) -> str:
    """Run what is missing, and return the tables."""
    records.sweep(directory, records.families(()), records.solvers())
    return page.write(directory)

"""`python -m maskgap.benchmarks.reference.published DIRECTORY [FAMILY[=LARGEST] ...]`.

Runs what the directory has no record of, and writes its tables. FAMILY=LARGEST takes sizes up to
LARGEST; without any, all published cases are run. `--solver NAME`, again and again, takes some of
the solvers alone; `--tables` runs nothing; `--patience F` gives runs F times the limit in wall
time, for a machine that others use.
"""

import argparse
import sys
from pathlib import Path

from maskgap.benchmarks.reference.published import page, records
from maskgap.instances.errors import InputError


def main(words: list[str]) -> int:
    """Run, write and print."""
    parser = argparse.ArgumentParser(prog="maskgap.benchmarks.reference.published")
    parser.add_argument("directory", type=Path)
    parser.add_argument("families", nargs="*", metavar="FAMILY[=LARGEST]")
    parser.add_argument("--solver", action="append", choices=records.solvers())
    parser.add_argument("--tables", action="store_true", help="run nothing")
    parser.add_argument("--patience", type=float, default=1.0)
    chosen = parser.parse_args(words)
    try:
        if not chosen.tables:
            wanted = records.families(chosen.families)
            names = chosen.solver or records.solvers()
            records.sweep(chosen.directory, wanted, names, patience=chosen.patience)
        print(page.write(chosen.directory))
    except InputError as error:
        print(error, file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        return 130
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))

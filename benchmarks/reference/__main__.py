"""`python -m maskgap.benchmarks.reference [NAME ...]`: make the reference results again."""

import sys

from maskgap.benchmarks.reference.regenerate import main

if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))

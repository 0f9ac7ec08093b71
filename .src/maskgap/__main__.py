"""`python -m maskgap`: the command.

Python puts the current directory first on the path of a module that it runs; nothing is imported
from there, so it goes before anything else is loaded.
"""

import sys

if __name__ == "__main__":
    if not sys.flags.safe_path:
        del sys.path[0]
    from maskgap.benchmarks.commands.cli import main

    main()

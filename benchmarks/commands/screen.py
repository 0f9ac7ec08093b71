"""What a command shows: results on standard output, all else on standard error.

Nothing shown is cut: a table that is wider than the screen, or than the 80 columns that a pipe is
taken for, is written at its own width. Texts of files are made visible
(`instances.formats.printable`). A standard error that cannot be written to costs words, never the
work; for standard output see `Results`.
"""

import contextlib
import json
import os
import sys
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING

from maskgap.instances.formats.printable import visible

if TYPE_CHECKING:
    from rich.console import Console
    from rich.table import Table

WIDEST = 10_000
"""Columns that no table has."""


def say(text: str) -> None:
    """A line for people, on standard error."""
    with contextlib.suppress(OSError):
        print(visible(text), file=sys.stderr, flush=True)


def errors() -> "Console":
    """Standard error, for bars and states that move."""
    from rich.console import Console

    return Console(file=sys.stderr)


def drop_output() -> None:
    """Let what is left of standard output go nowhere: whoever flushes it would fail again."""
    with contextlib.suppress(OSError):
        null = os.open(os.devnull, os.O_WRONLY)
        os.dup2(null, sys.stdout.fileno())
        os.close(null)


class Results:
    """Standard output of a command whose work goes on when nobody reads it any more.

    kept: whether the work has other outputs. Where it has none, a reader that has gone ends the
    work, as it ends any command; else the work is done, its files are written, and the failure is
    raised by `close`.
    """

    def __init__(self, kept: bool) -> None:
        self._kept = kept
        self._failure: OSError | None = None

    def line(self, fields: Mapping[str, object]) -> None:
        """One strict JSON object. Raises OSError when it cannot be written and nothing else is."""
        self._write(lambda: print(json.dumps(fields, allow_nan=False), flush=True))

    def table(self, table: "Table") -> None:
        """A table, as wide as it must be. Raises as `line` does."""

        def show() -> None:
            from rich.console import Console

            console = Console()
            needed = Console(width=WIDEST).measure(table).maximum
            if needed > console.width:
                console = Console(width=needed)
            with console.capture() as text:  # printing itself, rich ends the process
                console.print(table)
            print(text.get(), end="", flush=True)

        self._write(show)

    def text(self, text: str) -> None:
        """A line for people. Raises as `line` does."""
        self._write(lambda: print(visible(text), flush=True))

    def _write(self, show: Callable[[], None]) -> None:
        if self._failure is not None:
            return
        try:
            show()
        except OSError as error:
            if not self._kept:
                raise
            self._failure = error
            drop_output()

    def close(self) -> None:
        """Raise what kept lines from being written."""
        if self._failure is not None:
            raise self._failure

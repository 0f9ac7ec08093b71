"""The process of a command: its import path, its streams, and how it ends.

Every end is a result or one line. A fault of maskgap's own names itself and no more, unless the
environment variable MASKGAP_TRACEBACK is set.
"""

import io
import os
import sys
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any, TextIO

from maskgap.benchmarks.commands.screen import drop_output, say
from maskgap.instances.errors import MaskgapError

if TYPE_CHECKING:
    from _typeshed import ReadableBuffer

TRACEBACK = "MASKGAP_TRACEBACK"

Command = Callable[[Sequence[str]], int | None]
"""Takes the words of the command line, gives the exit code (None is 0)."""


def enter(command: Command) -> None:
    """Run a command in this process, and end it."""
    os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")  # before numpy is loaded; see child.py
    _open_streams()
    _leave_current_directory()
    sys.exit(_flushed(_run(command)))


def _run(command: Command) -> int:
    words = sys.argv[1:]
    try:
        if not words:
            command(["--help"])
            return 2
        return command(words) or 0
    except MaskgapError as error:
        return _complain(str(error))
    except KeyboardInterrupt:
        return 130
    except BrokenPipeError:  # the reader of our output has gone: nothing is left to say
        return 1
    except OSError as error:
        where = "" if error.filename is None else f"{error.filename}: "
        return _complain(f"{where}{error.strerror or error}")
    except MemoryError as error:
        return _complain(f"out of memory: {error}")
    except Exception as error:
        if type(error).__name__ == "Abort":  # what click makes of an interrupt
            return 130
        # typer raises its usage errors as exceptions with a one-line message
        if hasattr(error, "format_message"):
            return _complain(_usage(error))
        if os.environ.get(TRACEBACK):
            raise
        _complain(
            f"a fault of maskgap's own: {type(error).__name__}: {error} (please report it; "
            f"{TRACEBACK}=1 shows where)"
        )
        return 1


def _usage(error: Any) -> str:
    """A mistake on the command line, with what may have been meant."""
    if getattr(error, "possibilities", None):  # an option that there is none of
        return f"{error.message}; did you mean {' or '.join(error.possibilities)}?"
    message: str = error.format_message()
    return message.replace(". Did you mean", "; did you mean")


def _open_streams() -> None:
    """Open what the caller has closed, lest a file get the number of a standard stream.

    Characters that an encoding lacks are written as escapes.
    """
    for number in range(3):
        try:
            os.fstat(number)
        except OSError:
            os.set_inheritable(os.open(os.devnull, os.O_RDWR), True)  # the lowest number free
    sys.stdin = sys.stdin or open(0, closefd=False)  # noqa: SIM115 - it stays open
    if _is_standard(sys.stdout, 1):
        sys.stdout = _text(_Output(1, "w", closefd=False), sys.stdout)
    if _is_standard(sys.stderr, 2):
        sys.stderr = _text(_Errors(2, "w", closefd=False), sys.stderr)


def _is_standard(stream: TextIO | None, number: int) -> bool:
    """Whether a stream is what Python makes of a number, or of one that was closed."""
    if stream is None:
        return True
    try:
        return stream.fileno() == number
    except OSError:  # a caller in this process listens
        return False


class _Output(io.FileIO):
    """Standard output, whose errors say that it is that."""

    def write(self, data: "ReadableBuffer") -> int:
        """See `io.RawIOBase`."""
        try:
            return super().write(data)
        except OSError as error:
            error.filename = "standard output"
            raise


class _Errors(io.FileIO):
    """Standard error: what cannot be written there is lost, and nothing else with it."""

    def write(self, data: "ReadableBuffer") -> int:
        """See `io.RawIOBase`."""
        try:
            return super().write(data)
        except OSError:
            return memoryview(data).nbytes


def _text(raw: io.FileIO, before: TextIO | None) -> TextIO:
    encoding = "utf-8" if before is None else before.encoding
    lines = raw.isatty() or raw.fileno() == 2
    return io.TextIOWrapper(
        io.BufferedWriter(raw), encoding, "backslashreplace", line_buffering=lines
    )


def _leave_current_directory() -> None:
    """Keep Pythons that are begun from here from importing what lies in the current directory."""
    os.environ["PYTHONSAFEPATH"] = "1"


def _flushed(code: int) -> int:
    """The exit code when standard output could be written to the end; else 1, or 2 and a line."""
    try:
        sys.stdout.flush()
        return code
    except BrokenPipeError:
        failed = code or 1
    except OSError as error:
        failed = code or _complain(f"{error.filename}: {error.strerror or error}")
    drop_output()
    return failed


def _complain(message: str) -> int:
    say(f"maskgap: {' '.join(message.split())}")
    return 2

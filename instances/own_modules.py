"""Code of a user's own, named on the command line as `module:attribute`: where it is found.

Nothing is imported from the current directory, where any file may lie. A module that a user names
is an exception, and looked for in this order: what Python has installed and PYTHONPATH names, then
the directory that the command was called in. Where it is found there, that directory is put last on
the path, so that what the module imports from beside itself is found, and nothing there takes the
place of an installed module.
"""

import contextlib
import sys
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path
from types import ModuleType

from maskgap.instances.errors import InputError


def admit(target: str | None, folder: Path) -> None:
    """Let `module:attribute` be found in a folder; what is no such name, or installed, is left."""
    module, colon, _ = (target or "").partition(":")
    top = module.partition(".")[0]
    if not (colon and top.isidentifier()):
        return
    there = (folder / f"{top}.py").is_file() or (folder / top).is_dir()
    if there and str(folder) not in sys.path and find_spec(top) is None:
        sys.path.append(str(folder))


def load(module: str, what: str) -> ModuleType:
    """Import a module that a user has named. what: for people, such as "solver 'a:B'".

    What it prints goes to standard error. Raises InputError, in one line, for anything that keeps
    it from being imported; where it was looked for, when there is none.
    """
    try:
        with contextlib.redirect_stdout(sys.stderr):
            return import_module(module)
    except ModuleNotFoundError as error:
        if error.name is not None and (module == error.name or module.startswith(f"{error.name}.")):
            raise InputError(
                f"{what} cannot be imported: there is no module '{error.name}' in the directory of "
                "the call, nor among what this Python has installed or PYTHONPATH names"
            ) from None
        raise InputError(f"{what} cannot be imported: {error}") from None
    except (Exception, SystemExit) as error:  # whatever the code of the module does
        raise InputError(f"{what} cannot be imported: {_where(error)}") from None


def _where(error: BaseException) -> str:
    """An error of somebody's code, with the last line of it that was run."""
    said = f"{type(error).__name__}: {error}"
    trace = error.__traceback__
    while trace is not None and trace.tb_next is not None:
        trace = trace.tb_next
    if trace is None or isinstance(error, SyntaxError):
        return said
    return f"{said} ({trace.tb_frame.f_code.co_filename}, line {trace.tb_lineno})"

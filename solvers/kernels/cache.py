"""Where compiled kernels are kept, what they were made from, and how long making them took.

Kernels (`solvers.kernels.jit`) are compiled once and kept in a folder that carries a digest of all
their sources: a kernel holds the code of those it calls in other files, so a change of any makes
another folder. The first of these places that can be written to is taken:

    $NUMBA_CACHE_DIR, the installation, the user's cache directory,
    a folder of the user's own among temporary files, which nobody else can have made

What is kept there is code, and is run. Nothing here imports numba, which takes its time.
"""

import ast
import hashlib
import os
import secrets
import stat
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from functools import cache
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

from maskgap.solvers.kernels.wanted import Wanted

ROOT = Path(__file__).resolve().parents[2]
"""The folder of the package's parts."""

_PACKAGE = "maskgap."

_DECORATORS = f"{_PACKAGE}solvers.kernels.jit"


@cache
def kernel_digest() -> str:
    """Digest, twelve hex digits, of the files with kernels and with constants that these import.

    A part of what makes a run: the same code must have run for two answers to be comparable.
    """
    digest = hashlib.sha256()
    for path in _sources():
        digest.update(f"{path.relative_to(ROOT).as_posix()}\n".encode())
        digest.update(path.read_bytes())
    return digest.hexdigest()[:12]


def _sources() -> list[Path]:
    """Files that import the decorators, and those that constants in such files come from."""
    found = {Path(__file__).with_name("jit.py")}
    for path in (ROOT / "solvers").rglob("*.py"):
        text = path.read_text(encoding="utf-8")
        if f"from {_DECORATORS} import" in text:
            found.add(path)
            found.update(_origins_of_constants(text))
    return sorted(found)


def _origins_of_constants(text: str) -> Iterator[Path]:
    """Files of ours that a source takes names in capitals from: kernels hold their values."""
    for node in ast.parse(text).body:
        if isinstance(node, ast.ImportFrom) and any(alias.name.isupper() for alias in node.names):
            module = (node.module or "").removeprefix(_PACKAGE)
            path = ROOT / (module.replace(".", "/") + ".py")
            if path.is_file():
                yield path


@cache
def place() -> Path | None:
    """The folder that compiled kernels are kept in; None where none can be written to."""
    name = f"maskgap-kernels-{kernel_digest()}"
    for base in (
        os.environ.get("NUMBA_CACHE_DIR"),
        ROOT / "solvers" / "__pycache__",
        _user_cache(),
        _own_temporary(),
    ):
        if base and _usable(Path(base) / name):
            return Path(base) / name
    return None


def is_temporary() -> bool:
    """Whether kernels are kept among temporary files only, or nowhere."""
    found = place()
    return found is None or found.parent == _own_temporary()


def _user_cache() -> Path | None:
    base = os.environ.get("XDG_CACHE_HOME")
    if base:
        return Path(base) / "maskgap"
    try:
        return Path.home() / ".cache" / "maskgap"
    except RuntimeError:  # nobody's home
        return None


@cache
def _own_temporary() -> Path | None:
    """A folder that is ours and closed to all others; None where its name is taken by another's."""
    path = Path(tempfile.gettempdir()) / f"maskgap-{os.geteuid()}"
    try:
        path.mkdir(mode=0o700, exist_ok=True)
        found = path.lstat()
    except OSError:
        return None
    ours = stat.S_ISDIR(found.st_mode) and found.st_uid == os.geteuid()
    return path if ours and not stat.S_IMODE(found.st_mode) & 0o077 else None


def _usable(folder: Path) -> bool:
    try:
        folder.mkdir(parents=True, exist_ok=True)
        trial = folder / f".trial-{secrets.token_hex(8)}"
        trial.touch()
        trial.unlink()
    except OSError:
        return False
    return True


def _mark(wanted: Wanted) -> Path | None:
    """Numbers choose no kernels, so solvers that differ in these alone share a mark."""
    folder = place()
    try:
        numba = version("numba")
    except PackageNotFoundError:
        numba = "absent"
    chosen = sorted((k, str(v)) for k, v in wanted.settings.items() if not _is_number(v))
    named = repr((wanted.solver, chosen, str(wanted.objective)))
    digest = hashlib.sha256(named.encode()).hexdigest()[:12]
    return None if folder is None else folder / f"{digest}-numba{numba}.compiled"


def _is_number(value: object) -> bool:
    try:
        float(str(value))
    except ValueError:
        return False
    return True


def is_compiled(wanted: Wanted) -> bool:
    """Whether these kernels were compiled here before."""
    mark = _mark(wanted)
    return mark is not None and mark.exists()


def mark_compiled(wanted: Wanted) -> None:
    """Note that they are. A note that cannot be written costs a process in a later call."""
    mark = _mark(wanted)
    if mark is not None and not mark.exists() and _usable(mark.parent):
        mark.touch()


class Compiling:
    """Wall time during which any thread of this process was compiling.

    listener: called when that begins (None) and when it ends (its seconds), from any thread.
    """

    def __init__(self) -> None:
        self._lock, self._depth, self._begun, self._spent = threading.Lock(), 0, 0.0, 0.0
        self.listener: Callable[[float | None], None] = lambda seconds: None

    def begin(self) -> None:
        """A kernel begins to be compiled; kernels that it calls are compiled within."""
        with self._lock:
            self._depth += 1
            if self._depth > 1:
                return
            self._begun = time.perf_counter()
        self.listener(None)

    def end(self) -> None:
        """A kernel is compiled."""
        with self._lock:
            self._depth -= 1
            if self._depth:
                return
            spent = time.perf_counter() - self._begun
            self._spent += spent
        self.listener(spent)

    def seconds(self) -> float:
        """Seconds until now, those of a process that this one was forked from before its fork."""
        with self._lock:
            more = time.perf_counter() - self._begun if self._depth else 0.0
            return self._spent + more


COMPILING = Compiling()


def clock() -> float:
    """Seconds on a clock that stands still while kernels are compiled: that of all limits."""
    return time.perf_counter() - COMPILING.seconds()

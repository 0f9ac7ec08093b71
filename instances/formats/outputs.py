"""Where results go: outputs are tried before any work is done, and nothing a user has is lost.

A command names each file it will write by `try_file` and each directory by `try_directory` once its
input is known to be good and before it starts to work. Both raise InputError in one line where the
output is one of the inputs, is there already and of another kind, or cannot be written. What is
there and of the same kind is set aside under a name of its own when the new file takes its place
(`replacing`), so that no result of an earlier call is lost. A write that fails at the end, because
a disk is full then, is noted (`Writes`), and everything else is written and shown first.
"""

import errno
import json
import os
import stat
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from maskgap.instances.errors import InputError
from maskgap.instances.formats.unfinished import holding, unfinished_name

TRIAL_BYTES = 4096
"""Written and taken away again to see whether a place takes files: a full disk makes empty ones."""

HEADER_BYTES = 100_000_000
"""The longest header that safetensors reads."""


@dataclass(frozen=True, slots=True)
class Kind:
    """A kind of file that is written. name: for people. holds: whether a file is of this kind."""

    name: str
    holds: Callable[[Path], bool]


def stored_kind(name: str, *stored_formats: str) -> Kind:
    """A safetensors file whose metadata `format` is one of those given."""
    return Kind(name, lambda path: format_of(path) in stored_formats)


def format_of(path: Path) -> str | None:
    """The metadata `format` of a safetensors file; None for anything else. Raises OSError."""
    with path.open("rb") as file:
        length = int.from_bytes(file.read(8), "little")
        if not 2 <= length <= min(HEADER_BYTES, os.fstat(file.fileno()).st_size - 8):
            return None
        try:
            header = json.loads(file.read(length))
        except (ValueError, RecursionError):
            return None
    meta = header.get("__metadata__") if isinstance(header, dict) else None
    found = meta.get("format") if isinstance(meta, dict) else None
    return found if isinstance(found, str) else None


def check_file(path: Path, kind: Kind, inputs: Iterable[Path | None] = ()) -> None:
    """See that nothing is in the way of a file in a directory that was tried already.

    inputs: files that the command reads, None among them is skipped. Raises InputError when `path`
    is one of them, is a directory or no regular file, or is there and not of `kind`.
    """
    try:
        for source in inputs:
            if source is not None and _same(path, source):
                raise InputError(f"{path}: this is the input; give another file to write to")
        if os.path.lexists(path):
            _expect(path, kind)
    except (OSError, ValueError) as error:
        raise _unwritable(path, error) from None


def try_file(path: Path, kind: Kind, inputs: Iterable[Path | None] = ()) -> Path:
    """See that a file can be written, without a trace; the path. Missing folders are made.

    Raises InputError as `check_file` does, and when the folder cannot be made or written to.
    """
    check_file(path, kind, inputs)
    try:
        target = Path(os.path.realpath(path))
        target.parent.mkdir(parents=True, exist_ok=True)
        _try(target.parent)
    except (OSError, ValueError) as error:
        raise _unwritable(path, error) from None
    return path


def try_directory(path: Path) -> Path:
    """Make a directory, unless it is there, and see that it takes files; the path.

    Raises InputError when it is a file, or cannot be made or written to.
    """
    try:
        if path.exists() and not path.is_dir():
            raise InputError(f"{path}: this is a file; give a directory to write to")
        path.mkdir(parents=True, exist_ok=True)
        _try(path)
    except (OSError, ValueError) as error:
        raise _unwritable(path, error) from None
    return path


@contextmanager
def replacing(path: Path, say: Callable[[str], None] = lambda _: None) -> Iterator[Path]:
    """A path to write to, which takes the place of `path` when all went well.

    A file that is there and has other contents is kept as NAME.old-1, -2, ..., and `say` is told so
    in one line. Raises InputError; what was at `path` is there still then.
    """
    target = Path(os.path.realpath(path))
    part = target.with_name(unfinished_name("new"))
    try:
        with holding(target.parent):
            yield part
            if target.exists():
                part.chmod(stat.S_IMODE(target.stat().st_mode))
                if not _equal(part, target):
                    say(f"{path}: what was there is kept as {_set_aside(target).name}")
            os.replace(part, target)
    except OSError as error:
        raise _unwritable(path, error) from None
    except InputError as error:  # of the writer, who knows the other name only
        raise InputError(str(error).replace(str(part), str(path))) from None
    finally:
        part.unlink(missing_ok=True)


@dataclass(slots=True)
class Writes:
    """The writes of a command: one that fails keeps no other from being made."""

    failures: list[InputError] = field(default_factory=list)

    @contextmanager
    def attempt(self) -> Iterator[None]:
        """Write inside; an InputError is noted and goes no further."""
        try:
            yield
        except InputError as error:
            self.failures.append(error)

    def close(self) -> None:
        """Raise the first failure, with the number of all where there are more."""
        if self.failures:
            more = len(self.failures) - 1
            suffix = f" (and {more} more that could not be written)" if more else ""
            raise InputError(f"{self.failures[0]}{suffix}")


def _same(one: Path, other: Path) -> bool:
    try:
        return one.samefile(other)
    except FileNotFoundError:
        return os.path.realpath(one) == os.path.realpath(other)


def _expect(path: Path, kind: Kind) -> None:
    """Raise InputError unless a regular file of this kind, or a link to nothing, is there."""
    try:
        mode = path.stat().st_mode
    except FileNotFoundError:  # a link to nothing: the file is made
        return
    if stat.S_ISDIR(mode):
        raise InputError(f"{path}: this is a directory; give a {kind.name} to write")
    if not stat.S_ISREG(mode):
        raise InputError(f"{path}: this is no regular file; give a {kind.name} to write")
    if not kind.holds(path):
        raise InputError(
            f"{path}: exists and is no {kind.name}; it is left as it is, give another name"
        )


def _try(folder: Path) -> None:
    trial = folder / unfinished_name("trial")
    with holding(folder):
        descriptor = os.open(trial, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
        try:
            if os.write(descriptor, bytes(TRIAL_BYTES)) < TRIAL_BYTES:
                raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
            os.fsync(descriptor)
        finally:
            os.close(descriptor)
            trial.unlink(missing_ok=True)


def _equal(one: Path, other: Path) -> bool:
    if one.stat().st_size != other.stat().st_size:
        return False
    with one.open("rb") as left, other.open("rb") as right:
        while block := left.read(1 << 20):
            if block != right.read(1 << 20):
                return False
    return True


def _set_aside(target: Path) -> Path:
    """Give a file a second name that nothing has; it keeps its first until it is replaced."""
    number = 1
    while True:
        aside = target.with_name(f"{target.name}.old-{number}")
        try:
            os.link(target, aside)
            return aside
        except FileExistsError:
            number += 1
        except OSError:  # a file system without hard links
            if not os.path.lexists(aside):
                os.rename(target, aside)
                return aside
            number += 1


def _unwritable(path: Path, error: Exception) -> InputError:
    return InputError(f"{path}: cannot be written: {getattr(error, 'strerror', None) or error}")

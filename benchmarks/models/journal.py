"""What pruning has done so far, so that it can go on after it was killed.

`pruning.jsonl` in the folder of the checkpoint: a line that says what was asked and of which
weights, then a line a layer, written when its mask file is complete: what pruning did to it, and
the digest of the file; or why it was left out. Each line reaches the disk before the next layer
begins. A last line that is torn is dropped, and its layer is done again. Who goes on must ask for
the same, of the same weights and data; who asks for anything else leaves the file as it is. One
call at a time holds it, from before it writes anything to the folder. The file goes when the
checkpoint is there.
"""

import fcntl
import hashlib
import json
import os
import shutil
from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import IO

from maskgap.benchmarks.models.checkpoint import UNFINISHED, check_free
from maskgap.benchmarks.models.reports import Report
from maskgap.instances.errors import InputError
from maskgap.instances.formats.files import mask_path
from maskgap.instances.formats.outputs import try_directory
from maskgap.instances.formats.unfinished import clear_left_behind
from maskgap.instances.objective import objective_spec

JOURNAL = "pruning.jsonl"
FORMAT = "maskgap-pruning-journal/1"


class Journal:
    """The journal of one folder. reports: of layers done before. left_out: names, with reasons."""

    def __init__(self, out: Path, masks: Path) -> None:
        self._path, self._masks = out / JOURNAL, masks
        self._file: IO[str] | None = None
        self._own = False  # whether this call began it
        self.reports: dict[str, Report] = {}
        self.left_out: dict[str, str] = {}
        self._digests: dict[str, str] = {}

    def claim(self) -> bool:
        """Hold it for this call, and clear what a killed one left; whether that one began it.

        Raises InputError when another call holds it, and when the folder cannot be written to.
        """
        try_directory(self._path.parent)
        try:
            file = self._path.open("a", encoding="utf-8")
        except OSError as error:
            raise InputError(f"{self._path}: cannot be written: {error.strerror}") from None
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            file.close()
            busy = isinstance(error, BlockingIOError)
            reason = "another call is pruning into this folder" if busy else error.strerror
            raise InputError(f"{self._path}: {reason}") from None
        self._file = file
        self._own = not self._lines()
        _clear_checkpoints(self._path.parent)
        for folder in (self._path.parent, self._masks):
            clear_left_behind(folder)
        return not self._own

    def open(self, asked: Mapping[str, object]) -> None:
        """Begin, or go on where an earlier call ended, once it is claimed.

        asked: what decides the masks, of values that JSON has. Raises InputError when the journal
        is of something else or damaged, and when a mask file is not what it was.
        """
        head = {"format": FORMAT, "asked": json.loads(json.dumps(asked))}
        lines = self._lines()
        if not lines:  # a new one, or killed before its first line was complete
            self._append(head)
            return
        self._expect(lines[0], head)
        for number, line in enumerate(lines[1:], start=2):
            try:
                self._take(line)
            except (KeyError, TypeError, ValueError):
                raise InputError(f"{self._path}: line {number} is damaged") from None
        for name, digest in self._digests.items():
            path = mask_path(self._masks, name)
            if not path.is_file() or _digest(path) != digest:
                raise InputError(f"{path}: is not the mask file that {self._path.name} tells of")

    def done(self, report: Report) -> None:
        """Note a layer whose mask file is complete."""
        objective = report.objective
        ridge = objective.ridge if objective.refits else None
        line = {**asdict(report), "objective": [str(objective.name), ridge]}
        digest = _digest(mask_path(self._masks, report.layer))
        self._append({"done": line, "mask": digest})
        self.reports[report.layer] = report

    def skipped(self, name: str, reason: str) -> None:
        """Note a layer that is left out."""
        if name not in self.left_out:
            self._append({"left_out": name, "reason": reason})
            self.left_out[name] = reason

    def finish(self) -> None:
        """Take it away: the checkpoint is there."""
        self._path.unlink()

    def close(self) -> None:
        """Let others go on with it; one that this call began and that tells of no layer goes."""
        if self._file is not None:
            if self._own and not self.reports and not self.left_out:
                self._path.unlink(missing_ok=True)
            self._file.close()
            self._file = None

    def _append(self, line: Mapping[str, object]) -> None:
        if self._file is None:
            raise ValueError("the journal is not open")
        try:
            self._file.write(json.dumps(line, allow_nan=False) + "\n")
            self._file.flush()
            os.fsync(self._file.fileno())
        except OSError as error:
            raise InputError(f"{self._path}: cannot be written: {error.strerror}") from None

    def _lines(self) -> list[dict[str, object]]:
        """All whole lines; a torn last one is cut off the file."""
        try:
            text = self._path.read_bytes()
            whole = text[: text.rfind(b"\n") + 1]
            if len(whole) < len(text):
                os.truncate(self._path, len(whole))
            found = [json.loads(line) for line in whole.splitlines()]
        except (OSError, ValueError) as error:
            raise InputError(f"{self._path}: cannot be read: {error}") from None
        if not all(isinstance(line, dict) for line in found):
            raise InputError(f"{self._path}: a line is no JSON object")
        return found

    def _expect(self, found: Mapping[str, object], head: Mapping[str, object]) -> None:
        if found.get("format") != head["format"]:
            raise InputError(f"{self._path}: expected a journal of format {FORMAT}")
        before, now = found.get("asked"), head["asked"]
        if before == now:
            return
        if not isinstance(before, dict) or not isinstance(now, dict):
            raise InputError(f"{self._path}: its first line is damaged")
        key = next(k for k in {**before, **now} if before.get(k) != now.get(k))
        raise InputError(
            f"{self._path}: --resume goes on with what was asked then, and {key} was "
            f"{before.get(key)!r:.60} and is {now.get(key)!r:.60}"
        )

    def _take(self, line: Mapping[str, object]) -> None:
        if "left_out" in line:
            self.left_out[str(line["left_out"])] = str(line["reason"])
            return
        fields = line["done"]
        if not isinstance(fields, dict):
            raise TypeError
        name, ridge = fields.pop("objective")
        report = Report(**fields, objective=objective_spec(name, ridge))
        self.reports[report.layer] = report
        self._digests[report.layer] = str(line["mask"])


def expect_free(out: Path, resume: bool) -> None:
    """Raise InputError unless a call may prune into a folder, before it does anything.

    resume: whether it may go on with what an earlier one began there.
    """
    begun = (out / JOURNAL).exists()
    if not (resume and begun):
        check_free(out, "; --resume goes on with what was begun there" * begun)


def _clear_checkpoints(folder: Path) -> None:
    """Take away checkpoints that a run that was killed had not finished."""
    for path in folder.iterdir():
        if path.name.startswith(UNFINISHED) and path.is_dir() and not path.is_symlink():
            shutil.rmtree(path)


def _digest(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()

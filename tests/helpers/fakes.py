"""Solvers that misbehave on purpose, named 'tests.helpers.fakes:Class' where a solver goes."""

import os
import signal
import time
from dataclasses import dataclass, replace
from pathlib import Path
from typing import ClassVar

import numpy as np
import psutil

from maskgap.instances.errors import InputError, Refused
from maskgap.solvers.protocol import Answer, Stop, TracePoint
from maskgap.solvers.tree.exhaustive import Exhaustive


def _first(problem):
    """The legal mask that prunes the lowest columns."""
    return problem.groups.prune_lowest(np.zeros(problem.n))


@dataclass(frozen=True)
class Good:
    """A legal mask and nothing else."""

    def solve(self, problem, limits, seed):
        return Answer(_first(problem), Stop.FINISHED)


@dataclass(frozen=True)
class Abort:
    """Dies as native code does."""

    def solve(self, problem, limits, seed):
        os.abort()


@dataclass(frozen=True)
class Raise:
    """Fails with an exception."""

    def solve(self, problem, limits, seed):
        raise ZeroDivisionError("on purpose")


@dataclass(frozen=True)
class Quits:
    """Ends its process without an answer."""

    def solve(self, problem, limits, seed):
        os._exit(0)


@dataclass(frozen=True)
class Refuses:
    """Refuses in words."""

    def solve(self, problem, limits, seed):
        raise Refused("rows of this kind are not taken")


@dataclass(frozen=True)
class Picky:
    """Finds its input bad, as only it can tell."""

    start: str = "none"

    def solve_rows(self, problem, limits, seed):
        raise InputError(f"start '{self.start}' does not exist")


@dataclass(frozen=True)
class HangsAfterTwo:
    """A batch that answers two parts and then does not hear its limit."""

    def solve_rows(self, problem, limits, seed):
        done = [Answer(_first(part), Stop.FINISHED) for part in problem][:2]
        limits.journal.answered(0, done)
        time.sleep(600.0)


@dataclass(frozen=True)
class Walker:
    """A batch with a trace: 10 above the loss of its mask, 4 above it after one swap, then it."""

    swaps: int = 3

    def solve_rows(self, problem, limits, seed):
        answers = []
        for row in problem:
            mask = _first(row)
            loss = row.loss(mask)
            points = [(0.25, loss + 10.0, 0), (0.5, loss + 4.0, 1), (1.0, loss, self.swaps)]
            trace = tuple(TracePoint(s, value, None, count) for s, value, count in points)
            answers.append(
                Answer(mask, Stop.FINISHED, loss, None, {"swaps": self.swaps}, trace=trace)
            )
        return answers


@dataclass(frozen=True)
class Half:
    """A batch whose last row has no mask when the time is over."""

    def solve_rows(self, problem, limits, seed):
        masks = [_first(row) for row in problem]
        return [Answer(m, Stop.FINISHED) for m in masks[:-1]] + [Answer(None, Stop.TIME)]


@dataclass(frozen=True)
class Deaf:
    """Finds a mask, then ignores every limit."""

    def solve(self, problem, limits, seed):
        mask = _first(problem)
        limits.journal.incumbent(mask, problem.scaled_loss(mask))
        limits.journal.bound(0.25 * problem.scaled_loss(mask))
        while True:
            time.sleep(0.05)


@dataclass(frozen=True)
class Patient:
    """Waits for its deadline or an interrupt, then answers."""

    def solve(self, problem, limits, seed):
        while not limits.deadline.expired():
            time.sleep(0.02)
        return Answer(_first(problem), limits.deadline.stop())


@dataclass(frozen=True)
class Hungry:
    """Asks for more memory than any cap."""

    def solve(self, problem, limits, seed):
        return Answer(np.ones(1 << 46, dtype=bool), Stop.FINISHED)


@dataclass(frozen=True)
class Claims:
    """A legal mask with a claimed bound of `factor` times its loss."""

    factor: float = 2.0

    def solve(self, problem, limits, seed):
        mask = _first(problem)
        loss = problem.scaled_loss(mask)
        return Answer(mask, Stop.FINISHED, loss, self.factor * loss)


@dataclass(frozen=True)
class Boasts:
    """The best mask of the mask loss, by brute force, with all that `exhaustive` claims of it."""

    def solve(self, problem, limits, seed):
        return Exhaustive().solve(problem, limits, seed)


@dataclass(frozen=True)
class Refits:
    """A batch that takes refit: a legal mask, weights of its own, `off` from the best ones."""

    objectives: ClassVar = ("mask", "refit")
    off: float = 0.0

    def solve_rows(self, problem, limits, seed):
        answers = []
        for part in problem:
            mask = _first(part)
            weights = np.where(mask, part.refitted(mask) + self.off, 0.0)
            answers.append(Answer(mask, Stop.FINISHED, part.loss(mask), weights=weights))
        return answers


@dataclass(frozen=True)
class Illegal:
    """Keeps everything, whatever the budget."""

    def solve(self, problem, limits, seed):
        return Answer(np.ones(problem.n, dtype=bool), Stop.FINISHED, 0.0, 0.0)


@dataclass(frozen=True)
class Plods:
    """A batch solver that takes its time over each row, and says how far it is."""

    def solve_rows(self, problem, limits, seed):
        answers = []
        for row in problem:
            time.sleep(0.3)
            answers.append(Answer(_first(row), Stop.FINISHED))
            limits.journal.rows_done(1)
        return answers


@dataclass(frozen=True)
class Once:
    """Notes its process in `folder` and waits for its deadline; where it was before, answers."""

    folder: str

    def solve(self, problem, limits, seed):
        mark = Path(self.folder) / f"row{problem.row}"
        try:
            mark.with_suffix(".begun").touch(exist_ok=False)
        except FileExistsError:
            return Answer(_first(problem), Stop.FINISHED)
        mark.with_suffix(".tmp").write_text(str(os.getpid()))
        mark.with_suffix(".tmp").rename(mark)
        while not limits.deadline.expired():
            time.sleep(0.02)
        return Answer(_first(problem), limits.deadline.stop())


@dataclass(frozen=True)
class Fells:
    """Kills the process that owns the server it was forked from."""

    def solve(self, problem, limits, seed):
        os.kill(psutil.Process(os.getppid()).ppid(), signal.SIGKILL)
        time.sleep(60.0)


@dataclass(frozen=True)
class Asks:
    """Asks for two GiB of memory."""

    def solve(self, problem, limits, seed):
        return Answer(
            _first(problem), Stop.FINISHED, counters={"bytes": np.empty(2 << 30, "u1").size}
        )


@dataclass(frozen=True)
class Struck:
    """Is ended from outside by a signal while it works."""

    number: int = signal.SIGKILL

    def solve(self, problem, limits, seed):
        os.kill(os.getpid(), self.number)
        time.sleep(60.0)


@dataclass(frozen=True)
class Spoils:
    """A batch whose first answer is not what a judge can take, in one of several ways."""

    how: str = "claim"

    def solve_rows(self, problem, limits, seed):
        good = [Answer(_first(row), Stop.FINISHED) for row in problem]
        spoilt = {
            "claim": lambda a: replace(a, claimed_bound="much"),
            "huge claim": lambda a: replace(a, claimed_objective=1e306),
            "mask": lambda a: replace(a, mask=[True, False]),
            "proof": lambda a: replace(a, proof="trust me"),
            "notes": lambda a: replace(a, notes={"deep": [[[[[[[[[[1]]]]]]]]]]}),
            "counters": lambda a: replace(a, counters={"nodes": -1}),
            "trace": lambda a: replace(a, trace=(1, 2)),
            "time": lambda a: replace(a, stop="bored"),
            "no answer": lambda a: None,
        }
        if self.how == "too few":
            return good[1:]
        return [spoilt[self.how](good[0]), *good[1:]]


@dataclass(frozen=True)
class Speaks:
    """Says what no file should hold as it is: terminal escapes, halves of characters, infinity."""

    def solve(self, problem, limits, seed):
        notes = {"\x1b[31m": "\ud800", "size": float("inf")}
        return Answer(_first(problem), Stop.FINISHED, notes=notes)


@dataclass(frozen=True)
class Chatters:
    """Prints as Python does, and as native code does."""

    def solve(self, problem, limits, seed):
        print("said by Python")
        os.write(1, b"said by native code\n")
        return Answer(_first(problem), Stop.FINISHED)

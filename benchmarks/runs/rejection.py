"""Records whatever an answer holds: one that cannot be judged is a rejected row, not the end.

An answer comes from a solver, and one of a user's own may hold anything: masks that are no arrays,
proofs that break the checker, numbers that no record takes. The row of such an answer crashed, with
the reason and the traceback of the judge; all other rows of its run keep theirs.
"""

import traceback
from collections.abc import Callable
from dataclasses import replace

from maskgap.benchmarks.runs.judge import parts_of
from maskgap.benchmarks.runs.record import Record
from maskgap.benchmarks.runs.record_file import what_is_wrong
from maskgap.benchmarks.runs.recording import Origin, records_of
from maskgap.benchmarks.runs.task import Outcome, Task, failed
from maskgap.solvers.protocol import Answer, Stop

Make = Callable[[Outcome], list[Record]]
"""The records of an outcome of one task."""


def records_or_rejection(task: Task, outcome: Outcome, make: Make) -> list[Record]:
    """What `make` gives for an outcome, without the answers for which it breaks."""
    try:
        return make(outcome)
    except Exception as error:  # whatever an answer may do to its judge
        text, trace = _said(error), traceback.format_exc()
    answers = list(outcome.answers)
    if len(answers) != len(task.problem):
        text = f"{len(answers)} answers to {len(task.problem)} rows"
        answers = failed(task, Stop.CRASHED, text).answers
    else:
        for place, (part, answer) in enumerate(zip(parts_of(task.problem), answers, strict=True)):
            alone = replace(outcome, answers=[answer])
            try:
                records_of(replace(task, problem=part), alone, Origin(), [""])
            except Exception as error:  # the same, told by row
                answers[place] = Answer(None, Stop.CRASHED, notes={"reason": _said(error)})
    return make(replace(outcome, answers=answers, exception=text, traceback=trace))


def _said(error: Exception) -> str:
    return f"the answer could not be judged: {type(error).__name__}: {what_is_wrong(error)}"

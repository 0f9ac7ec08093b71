"""Tasks of lm-eval: zero-shot accuracy and whatever else a task measures.

The package `lm-eval` (extra `evaluate`) asks the questions and scores the answers; it is handed the
model and tokenizer that are loaded already. A task is a name that lm-eval has, whose data it takes
from its cache or the network, or a YAML file in lm-eval's form, whose data may be local files. Such
a file can name Python functions beside it, which then run: it is the user's own code. How many
examples a question comes with is the task's own choice, and told.
"""

import contextlib
import logging
import sys
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from maskgap.benchmarks.reading.typeset import markdown
from maskgap.instances.errors import InputError, first_line
from maskgap.instances.models.load import LoadedModel
from maskgap.instances.models.named_texts import out_of_reach

INSTALL = "pip install 'maskgap[evaluate]'"
SUFFIXES = (".yaml", ".yml")
BATCH = 8
BOOTSTRAP = 1000
"""Resamples behind the standard error of a metric that is no mean."""


@dataclass(frozen=True, slots=True)
class TaskScore:
    """One metric of one task. value_dense: of the dense model, None without one.

    stderr: standard error of value, None where the metric has none. examples: asked. shots: solved
    examples before each.
    """

    task: str
    metric: str
    value: float
    value_dense: float | None
    stderr: float | None
    examples: int
    shots: int


def check_tasks(tasks: Sequence[str]) -> None:
    """Raise InputError in one line for tasks that cannot be asked, before a model is loaded."""
    if find_spec("lm_eval") is None:
        raise InputError(f"--tasks needs lm-eval: {INSTALL}")
    for task in tasks:
        path = Path(task)
        if (path.suffix in SUFFIXES or path.parent != Path()) and not path.is_file():
            raise InputError(f"{task}: no such task file")


def evaluate_tasks(
    loaded: LoadedModel,
    dense: LoadedModel | None,
    tasks: Sequence[str],
    limit: int | None = None,
) -> list[TaskScore]:
    """The scores of a model, and of the dense one where there is one.

    limit: examples of each task, at most; None for all. Raises InputError in one line for a task
    that is not known, whose file is not right, or whose data cannot be had, and for a model that is
    no causal language model or has no tokenizer.
    """
    check_tasks(tasks)
    for model in filter(None, (loaded, dense)):
        if not model.causal:
            raise InputError(f"{model.name}: is no causal language model, so it has no --tasks")
        if model.tokenizer is None:
            raise InputError(f"{model.name}: {model.no_tokenizer}, so it has no --tasks")
    own = _ask(loaded, tasks, limit)
    reference = {} if dense is None else {_key(s): s.value for s in _ask(dense, tasks, limit)}
    return [
        TaskScore(**{**asdict(score), "value_dense": reference.get(_key(score))}) for score in own
    ]


def render(scores: Sequence[TaskScore]) -> str:
    """A table for people."""
    lines = []
    for one in scores:
        line = {
            "task": one.task,
            "metric": one.metric,
            "value": f"{one.value:.4f}",
            "standard error": "-" if one.stderr is None else f"{one.stderr:.4f}",
            "examples": str(one.examples),
            "shots": str(one.shots),
        }
        if one.value_dense is not None:
            line["dense"] = f"{one.value_dense:.4f}"
        lines.append(line)
    return markdown(lines)


def _key(score: TaskScore) -> tuple[str, str]:
    return score.task, score.metric


def _ask(loaded: LoadedModel, tasks: Sequence[str], limit: int | None) -> list[TaskScore]:
    harness: Any = import_module("lm_eval")
    models: Any = import_module("lm_eval.models.huggingface")
    for name in ("lm_eval", "huggingface_hub"):
        logging.getLogger(name).setLevel(logging.ERROR)
    with contextlib.redirect_stdout(sys.stderr):  # stdout is for results
        try:
            model = models.HFLM(
                pretrained=loaded.module,
                tokenizer=loaded.tokenizer,
                batch_size=BATCH,
                max_length=loaded.max_length,
            )
            found = harness.simple_evaluate(
                model=model,
                tasks=list(tasks),
                limit=limit,
                log_samples=False,
                bootstrap_iters=BOOTSTRAP,
            )
        except Exception as error:  # a task's data and code may raise anything
            raise InputError(_reason(tasks, error)) from error
    return _scores(found)


def _scores(found: Any) -> list[TaskScore]:
    scores = []
    for task, values in found["results"].items():
        examples = int(found["n-samples"][task]["effective"]) if task in found["n-samples"] else 0
        for name, value in values.items():
            metric, comma, _ = name.partition(",")
            if not comma or metric.endswith("_stderr") or not isinstance(value, int | float):
                continue
            error = values.get(name.replace(metric, f"{metric}_stderr", 1))
            stderr = float(error) if isinstance(error, int | float) else None
            shots = int(found["n-shot"].get(task) or 0)
            scores.append(TaskScore(str(task), metric, float(value), None, stderr, examples, shots))
    return scores


def _reason(tasks: Sequence[str], error: BaseException) -> str:
    named = ", ".join(tasks)
    if out_of_reach(error):
        return (
            f"tasks {named}: their data are neither in the cache of datasets nor to be had "
            "from the network; give a task file with local data"
        )
    first = first_line(error)
    return f"tasks {named}: lm-eval cannot ask them: {type(error).__name__}: {first}"

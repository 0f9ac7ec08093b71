"""Pruning a model that is in memory, in one call.

    import maskgap

    result = maskgap.prune(model, tokenizer, texts, pattern="50%", solver="swap")
    result.total["relative_error"], result.masks["model.layers.0.mlp.up_proj"]

The model is pruned in place, where it is, by the same steps as `maskgap prune`: Grams of the
inputs, a mask for each layer, certified, and the weights set to zero or re-optimised. Nothing is
written. Heads stay as they are unless `layers` names them.
"""

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from itertools import chain
from typing import Any, TypedDict, Unpack

import torch

from maskgap.benchmarks.models.course import Course
from maskgap.benchmarks.models.ledger import Ledger
from maskgap.benchmarks.models.masks import Solved
from maskgap.benchmarks.models.reports import Report
from maskgap.benchmarks.models.selection import Selection, chosen_sites
from maskgap.benchmarks.models.summary import total
from maskgap.benchmarks.runs.environment import cores
from maskgap.benchmarks.runs.task import RunLimits
from maskgap.instances.arrays import Kept
from maskgap.instances.errors import InputError
from maskgap.instances.models.calibration import Batch, text_batches
from maskgap.instances.models.extract import extract_sites
from maskgap.instances.models.few_tokens import few_tokens_told
from maskgap.instances.models.load import LoadedModel
from maskgap.instances.models.pace import batches_told
from maskgap.instances.models.passes import Running
from maskgap.instances.objective import objective_spec


class PruneExtras(TypedDict, total=False):
    """More options of `prune`, as those of the command.

    exclude: globs over layers that stay as they are. patterns: patterns by glob, the first that
    matches counts. settings: of the solver. ridge: of the objective refit. samples: sequences
    used, at most. sequence_length: tokens of each, at most. time_limit: seconds a row. seed: of
    randomised solvers. threads: all cores if absent.
    """

    exclude: str
    patterns: Mapping[str, str]
    settings: Mapping[str, object]
    ridge: float | None
    samples: int
    sequence_length: int
    time_limit: float
    seed: int
    threads: int


@dataclass(frozen=True, eq=False)
class PrunedModel:
    """What pruning did. reports: a layer each. masks: by layer, (d_out, d_in), True = kept."""

    reports: list[Report]
    masks: Mapping[str, Kept]

    @property
    def total(self) -> dict[str, float | int | None]:
        """Sums over layers: weights, pruned, sparsity, error, energy, relative_error."""
        return total(self.reports)


def prune(
    model: torch.nn.Module,
    tokenizer: Any | None,
    texts: Iterable[str] | Iterable[Batch],
    *,
    pattern: str = "50%",
    solver: str = "swap",
    layers: str = "*",
    objective: str = "mask",
    propagate: bool = True,
    progress: Callable[[str], None] | None = None,
    **more: Unpack[PruneExtras],
) -> PrunedModel:
    """Prune a torch model in place.

    tokenizer: of transformers, for texts; None where batches are given. texts: calibration data:
    texts, or batches, each a tensor or a mapping of arguments of the model's forward. pattern: as
    of the command. layers: globs over names, separated by commas. propagate: later layers see the
    inputs of the model pruned so far. progress: called with lines for people. more: `PruneExtras`.

    Raises InputError and Refused before the model is changed, and for a layer whose inputs are bad
    or that has no mask (`Unsolved`): with `propagate` those before it are pruned then.
    """
    say = progress or (lambda line: None)
    unknown = more.keys() - PruneExtras.__annotations__.keys()
    if unknown:
        raise InputError(f"prune has no option '{min(unknown)}'")
    threads = more.get("threads") or cores()
    limits = RunLimits(more.get("time_limit", 60.0), threads=threads, seed=more.get("seed", 0))
    spec = objective_spec(objective, more.get("ridge"))
    patterns = list(more.get("patterns", {}).items())
    masks = Solved(solver, pattern, dict(more.get("settings", {})), limits, spec, patterns)
    loaded = _live(model, tokenizer)
    batches = _batches(loaded, texts, more)

    def skip(name: str, reason: str) -> None:
        say(f"{name} is left out: {reason}")

    sites = chosen_sites(loaded, masks, Selection(layers, more.get("exclude", "")), skip)
    course = Course(masks, None, Ledger(loaded, sites), sites, at_once=propagate, say=say)
    see = few_tokens_told(say)
    for layer in extract_sites(
        model,
        sites,
        batches,
        propagate=propagate,
        on_skip=course.skipped,
        progress=batches_told(say, course.pace),
        running=Running(notice=say),
    ):
        see(layer)
        course.take(layer)
    if not course.reports:
        raise InputError(f"none of the layers that match '{layers}' saw inputs it can be judged by")
    course.finish()
    return PrunedModel(course.reports, course.masks)


def _live(model: torch.nn.Module, tokenizer: Any | None) -> LoadedModel:
    config: Any = getattr(model, "config", None)
    longest = getattr(config, "max_position_embeddings", None)
    return LoadedModel(
        type(model).__name__,
        model,
        pretrained=hasattr(model, "save_pretrained"),
        causal=type(model).__name__.endswith(("ForCausalLM", "LMHeadModel")),
        tokenizer=tokenizer,
        max_length=longest if isinstance(longest, int) else None,
        no_tokenizer="no tokenizer is given: give one, or batches",
    )


def _batches(
    loaded: LoadedModel, texts: Iterable[str] | Iterable[Batch], more: PruneExtras
) -> list[Batch]:
    """Texts as batches; batches as they are."""
    if isinstance(texts, str):
        raise InputError("texts is one text: give a list of texts")
    rest = iter(texts)
    first = next(rest, None)
    if first is None:
        raise InputError("texts is empty: a layer's error needs inputs")
    every: list[Any] = list(chain([first], rest))
    if not isinstance(first, str):
        return every
    samples, length = more.get("samples", 128), more.get("sequence_length", 128)
    return text_batches(loaded, every, samples, length)

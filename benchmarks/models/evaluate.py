"""What a model is worth after pruning: against the dense one, and as a language model.

The data are the held-out half of the calibration data, which no mask was chosen on when the same
files and options (the defaults, if none) were given to `prune`. A causal language model gets
windows of one stream of text (`instances.models.calibration.load_windows`), any other its texts or
tensors one by one. Layers that differ from the dense model's are compared on the dense model's
inputs: || W X - W' X ||_F^2, and the same as a share of || W X ||_F^2.

Both models are in memory at once. Where the dense one's blocks are run one at a time to compare
layers, the states that they gave spare it a second forward.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from math import fsum, isfinite

import numpy as np
import torch

from maskgap.benchmarks.models.measures import Measures
from maskgap.benchmarks.models.outputs import Ran
from maskgap.benchmarks.models.reports import ratio
from maskgap.benchmarks.models.sampling import DEFAULT_SAMPLING, Sampling
from maskgap.benchmarks.reading.typeset import markdown
from maskgap.instances.errors import InputError
from maskgap.instances.models.adapters import refuse_adapters
from maskgap.instances.models.calibration import Batch, Windows, load_calibration, load_windows
from maskgap.instances.models.collect import calm
from maskgap.instances.models.extract import extract_sites, work_of
from maskgap.instances.models.linear import Site, choose_linear
from maskgap.instances.models.load import LoadedModel
from maskgap.instances.models.pace import Pace, batches_told
from maskgap.instances.models.passes import Running
from maskgap.instances.models.walk import Passed

Say = Callable[[str], None]


@dataclass(frozen=True, slots=True)
class LayerError:
    """One layer that differs from the dense model's. sparsity: share of exact zeros."""

    layer: str
    error: float
    energy: float
    zeros: int
    weights: int

    def line(self) -> dict[str, object]:
        """For JSON."""
        return {
            "layer": self.layer,
            "error": self.error,
            "relative_error": ratio(self.error, self.energy),
            "sparsity": self.zeros / self.weights,
        }


@dataclass(frozen=True, slots=True)
class Evaluation:
    """Everything measured; None where it does not apply.

    text: what the data are. sequences, tokens: how much of it. predicted: tokens behind the
    perplexities. kl: nats. agreement: share of tokens. Errors are relative. All are defined in
    `benchmarks.models.fidelity`. windows: those of a language model's text.
    """

    model: str
    against: str | None
    text: str
    sequences: int
    tokens: int
    predicted: int | None
    perplexity: float | None
    perplexity_dense: float | None
    kl: float | None
    agreement: float | None
    output_error: float | None
    hidden_error: float | None
    embeddings: Mapping[str, float | int | None] | None
    layers: Sequence[LayerError]
    windows: Windows | None = None

    def total(self) -> dict[str, object]:
        """For JSON: all but the layers, and their sums."""
        own = {name: getattr(self, name) for name in self.__dataclass_fields__}
        del own["layers"]
        error, energy = (fsum(getattr(x, n) for x in self.layers) for n in ("error", "energy"))
        own["layers"] = len(self.layers)
        own["windows"] = None if self.windows is None else asdict(self.windows)
        own["layer_error"] = error if self.layers else None
        own["relative_layer_error"] = ratio(error, energy) if self.layers else None
        infinite = [k for k, v in own.items() if isinstance(v, float) and not isfinite(v)]
        return {"total": True, **own, **dict.fromkeys(infinite)}


@dataclass(frozen=True, eq=False)
class HeldOut:
    """Batches to evaluate on. text: what they are. windows: into which it was cut, or None."""

    batches: Sequence[Batch]
    text: str
    windows: Windows | None = None


def evaluate_model(
    loaded: LoadedModel,
    dense: LoadedModel | None = None,
    data: Sampling = DEFAULT_SAMPLING,
    say: Say = lambda text: None,
) -> Evaluation:
    """Evaluate a model, against the dense one where there is one.

    Raises InputError for bad data, for two architectures, and for a model that is no causal
    language model and has nothing to be compared with.
    """
    if dense is None and not loaded.causal:
        raise InputError(
            f"{loaded.name}: is no causal language model, so its quality is its agreement with the "
            "dense model; name that by --against"
        )
    pairs = [] if dense is None else _pairs(loaded, dense)
    held_out = held_out_data(dense or loaded, data)
    layers: list[LayerError] = []
    passed = None
    if dense is not None:
        layers, passed = _layer_errors(dense, pairs, held_out.batches, say)
    return measure(loaded, dense, held_out, layers, say, passed=passed)


def held_out_data(loaded: LoadedModel, data: Sampling) -> HeldOut:
    """What to evaluate on. Raises InputError."""
    windows, wanted = None, (data.calibration, data.samples, data.sequence_length)
    if loaded.causal:
        batches, windows, meta = load_windows(loaded, *wanted)
    else:
        halves = load_calibration(loaded, *wanted)
        batches, meta = halves.held_out, halves.meta
    return HeldOut(batches, f"held-out half of {meta['calibration']}", windows)


def _pairs(loaded: LoadedModel, dense: LoadedModel) -> list[tuple[Site, Site]]:
    """Layers of the dense model with those of the other. Raises InputError unless they match."""
    for model in (dense, loaded):
        refuse_adapters(model.module)
    chosen = [_all_sites(model) for model in (dense, loaded)]
    shapes = [{name: (site.d_out, site.d_in) for name, site in sites.items()} for sites in chosen]
    if shapes[0] != shapes[1]:
        name = next(n for n in {**shapes[0], **shapes[1]} if shapes[0].get(n) != shapes[1].get(n))
        raise InputError(
            f"{loaded.name} and {dense.name} have other layers ({name}: "
            f"{shapes[1].get(name, 'absent')} and {shapes[0].get(name, 'absent')}); "
            "--against takes the dense model that was pruned"
        )
    return [(site, chosen[1][name]) for name, site in chosen[0].items()]


def _all_sites(loaded: LoadedModel) -> dict[str, Site]:
    try:
        sites = choose_linear(loaded.module, "*", loaded.absent, lambda name, reason: None)
    except InputError:
        return {}
    return {site.name: site for site in sites}


def _layer_errors(
    dense: LoadedModel, pairs: list[tuple[Site, Site]], batches: Sequence[Batch], say: Say
) -> tuple[list[LayerError], Passed | None]:
    """The layers that differ, and what spares the dense model a forward, where there is that."""
    others = {
        site.name: other
        for site, other in pairs
        if not torch.equal(site.matrix().cpu(), other.matrix().cpu())
    }
    changed = [site for site, _ in pairs if site.name in others]
    if not changed:
        return [], None
    found: list[LayerError] = []
    passed: list[Passed] = []
    work = work_of(changed)
    pace = Pace(sum(work.values()))
    for layer in extract_sites(
        dense.module,
        changed,
        batches,
        on_skip=lambda name, reason: say(f"{name} is left out: {reason}"),
        progress=batches_told(say, pace),
        running=Running(passed=passed.append),
    ):
        pace.done += work[layer.name]
        pruned = others[layer.name].matrix().cpu().double().numpy()
        difference = layer.weight - pruned
        error, energy = (
            float(np.einsum("ij,ij->", x @ layer.gram, x)) for x in (difference, layer.weight)
        )
        zeros = int((pruned == 0).sum())
        found.append(LayerError(layer.name, max(0.0, error), max(0.0, energy), zeros, pruned.size))
    return found, passed[0] if passed else None


def measure(
    loaded: LoadedModel,
    dense: LoadedModel | None,
    held_out: HeldOut,
    layers: Sequence[LayerError] = (),
    say: Say = lambda text: None,
    *,
    ran: Ran | None = None,
    passed: Passed | None = None,
) -> Evaluation:
    """Run both models over the batches and compare them. Raises InputError.

    layers: what is known of them already. ran, passed: `benchmarks.models.measures.Measures`.
    """
    found = Measures(loaded, dense, ran, passed)
    batches = held_out.batches
    pace = Pace(len(batches))
    progress = batches_told(say, pace)
    with calm(loaded.module), calm((dense or loaded).module):
        for number, batch in enumerate(batches, start=1):
            found.take(batch, number)
            pace.done += 1
            progress(number, len(batches), "evaluation")
    return Evaluation(
        model=loaded.name,
        against=None if dense is None else dense.name,
        text=held_out.text,
        sequences=found.sequences,
        tokens=found.tokens,
        predicted=found.own.predicted or None,
        perplexity=found.own.perplexity,
        perplexity_dense=found.reference.perplexity,
        kl=found.divergence.value,
        agreement=found.divergence.agreement,
        output_error=found.output.value,
        hidden_error=found.hidden.value,
        embeddings=found.embeddings.agreement(),
        layers=layers,
        windows=held_out.windows,
    )


def render(found: Evaluation) -> str:
    """Tables for people: the measures, then the layers that differ."""
    facts = [
        ("text", found.text),
        ("windows", None if found.windows is None else str(found.windows)),
        ("sequences, tokens", f"{found.sequences}, {found.tokens}"),
        ("perplexity", _number(found.perplexity)),
        ("perplexity of the dense model", _number(found.perplexity_dense)),
        ("tokens predicted", None if found.predicted is None else str(found.predicted)),
        ("KL divergence from the dense model (nats a token)", _number(found.kl)),
        ("tokens where both think the same next one likeliest", _share(found.agreement)),
        ("relative error of the outputs", _number(found.output_error)),
        ("relative error of the last hidden states", _number(found.hidden_error)),
    ]
    if found.embeddings is not None:
        facts += [
            ("texts embedded", str(found.embeddings["texts"])),
            ("embeddings: mean cosine with the dense model's", _number(found.embeddings["cosine"])),
            ("similarities of pairs: Pearson correlation", _number(found.embeddings["pearson"])),
            ("similarities of pairs: Spearman correlation", _number(found.embeddings["spearman"])),
        ]
    lines = [{"measure": name, "value": value} for name, value in facts if value is not None]
    parts = [markdown(lines)]
    if found.layers:
        last = LayerError(
            f"all {len(found.layers)}",
            fsum(x.error for x in found.layers),
            fsum(x.energy for x in found.layers),
            sum(x.zeros for x in found.layers),
            sum(x.weights for x in found.layers),
        )
        parts.append(
            markdown([
                {
                    "layer": one.layer,
                    "error": f"{one.error:.6g}",
                    "relative error": f"{ratio(one.error, one.energy):.3%}",
                    "zeros": f"{one.zeros / one.weights:.2%}",
                }
                for one in (*found.layers, last)
            ])
        )  # fmt: skip
    elif found.against is not None:
        parts.append(
            "no layer differs from the dense model's, of those whose weights are stored as they "
            "are used: others are not compared"
        )
    return "\n\n".join(parts)


def _share(value: float | None) -> str | None:
    return None if value is None else f"{value:.2%}"


def _number(value: float | int | None) -> str | None:
    return None if value is None else f"{value:.5g}"

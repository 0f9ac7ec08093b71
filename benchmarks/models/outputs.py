"""What a model gives on a batch: its last hidden states at once, its outputs slice by slice.

Logits are batch x length x vocabulary numbers, most of the memory of an evaluation, and are needed
a few positions at a time. Causal models of transformers take `logits_to_keep`, the positions whose
logits are wanted. A first forward asks for the last one and keeps what the model's body gave; in
later ones that stands for the body, so a slice costs the head alone, and whatever the model does to
its logits (scales, caps) is done by its own code. So at most SLICE_BYTES of logits are there at a
time, whatever the batch and the vocabulary. A causal model that takes no positions runs a sequence
at a time; any other gives its output whole.
"""

import inspect
from collections.abc import Iterator, Mapping
from contextlib import nullcontext
from dataclasses import dataclass
from typing import Any

import torch

from maskgap.instances.errors import InputError
from maskgap.instances.models.calibration import Batch
from maskgap.instances.models.collect import forward, padding_of
from maskgap.instances.models.inputs import takes
from maskgap.instances.models.load import LoadedModel
from maskgap.instances.models.stand_in import standing_in
from maskgap.instances.models.walk import Passed

SLICE_BYTES = 1 << 25
"""Logits held at once, in float32; their softmax and those of the dense model come beside them."""

POSITIONS = "logits_to_keep"


@dataclass(frozen=True, eq=False)
class Part:
    """Outputs (batch, positions, features) from position `start` on, or whole ones of any shape.

    real: bool (batch, length), which tokens of the whole batch are real, or None when all are.
    """

    output: torch.Tensor
    start: int
    real: torch.Tensor | None

    def rows(self) -> torch.Tensor:
        """The outputs of real tokens (tokens, features) in float32 or better."""
        real = self.real
        if real is not None and self.output.ndim >= 2:
            real = real[:, self.start : self.start + self.output.shape[1]]
        return rows_of(self.output, real)


@dataclass(frozen=True, eq=False)
class Outputs:
    """What one batch gave. hidden: last hidden states (batch, length, d), or None.

    sequences: in the batch. parts: outputs by slices of positions, all of them together.
    """

    hidden: torch.Tensor | None
    real: torch.Tensor | None
    sequences: int
    parts: Iterator[Part]


def rows_of(tensor: torch.Tensor, real: torch.Tensor | None) -> torch.Tensor:
    """The entries of real tokens (tokens, features) in float32 or better."""
    if real is not None and tensor.shape[:2] == real.shape:
        tensor = tensor[real.to(tensor.device)]
    rows = tensor.reshape(-1, tensor.shape[-1]) if tensor.ndim else tensor.reshape(1, 1)
    return rows if rows.dtype == torch.float64 else rows.float()


def whole_sequences(loaded: LoadedModel, batch: Batch) -> Iterator[Batch]:
    """The batch as it is run: one sequence at a time where logits cannot be taken in slices."""
    sliced = not loaded.causal or _takes_positions(loaded)
    if sliced or not isinstance(batch, Mapping) or batch.get("input_ids") is None:
        yield batch
        return
    ids = batch["input_ids"]
    for row in range(len(ids)):
        yield {
            name: value[row : row + 1]
            if isinstance(value, torch.Tensor) and value.shape[:1] == ids.shape[:1]
            else value
            for name, value in batch.items()
        }


@dataclass(frozen=True, eq=False)
class _Ran:
    """What the body of a model gave on a batch. features: of an output."""

    body: torch.nn.Module
    given: Any
    features: int


Ran = dict[int, _Ran]
"""What the body of a model gave on each batch, by number."""


def outputs_of(
    loaded: LoadedModel,
    batch: Batch,
    number: int,
    ran: Ran | None = None,
    passed: Passed | None = None,
) -> Outputs:
    """Run a batch. Raises InputError when it fails, gives no tensor, or one that is not finite.

    Its parts are made as they are taken, and may raise the same. ran: filled with what the body
    gives, where logits come in slices; another call on the same model and batch takes it from
    there. None to keep nothing. passed: spares the body its blocks (`instances.models.walk`), where
    logits come in slices.
    """
    real = padding_of(loaded.module, batch, number)
    if _takes_positions(loaded) and isinstance(batch, Mapping) and "input_ids" in batch:
        once = None if ran is None else ran.get(number)
        if once is None:
            with nullcontext() if passed is None else passed(number - 1):
                once = _run_body(loaded, batch, number)
        if once is not None:
            if ran is not None:
                ran[number] = once
            return _sliced(loaded, batch, real, number, once)
    tells = loaded.pretrained and takes(loaded.module, "output_hidden_states")
    extra = {"output_hidden_states": True} if tells else {}
    given = {**batch, **extra} if isinstance(batch, Mapping) else batch
    made = forward(loaded.module, given, _where(number))
    output = _output(loaded, made, number)
    states = getattr(made, "hidden_states", None)
    hidden = states[-1] if loaded.pretrained and states else None
    _expect_finite(loaded, hidden, number)
    sequences = output.shape[0] if output.ndim else 1
    return Outputs(hidden, real, sequences, iter([Part(output, 0, real)]))


def _takes_positions(loaded: LoadedModel) -> bool:
    return (
        loaded.causal
        and loaded.pretrained
        and POSITIONS in inspect.signature(loaded.module.forward).parameters
    )


def _bodies(module: Any) -> list[torch.nn.Module]:
    """Parts of a model that may be what it calls before its head, outermost first."""
    decoder = getattr(module, "get_decoder", lambda: None)()
    found = [getattr(module, "base_model", None), decoder]
    return [one for one in found if isinstance(one, torch.nn.Module) and one is not module]


def _quick(loaded: LoadedModel, batch: Mapping[str, Any]) -> dict[str, Any]:
    """The batch without what generating would need."""
    return {**batch, **({"use_cache": False} if takes(loaded.module, "use_cache") else {})}


def _run_body(loaded: LoadedModel, batch: Mapping[str, Any], number: int) -> _Ran | None:
    """One forward for the last position; None for a model whose head calls no body, or twice."""
    bodies = _bodies(loaded.module)
    made: list[list[Any]] = [[] for _ in bodies]
    handles = [
        body.register_forward_hook(lambda module, args, out, into=into: into.append(out))
        for body, into in zip(bodies, made, strict=True)
    ]
    given = {**_quick(loaded, batch), POSITIONS: 1}
    try:
        output = _output(loaded, forward(loaded.module, given, _where(number)), number)
    finally:
        for handle in handles:
            handle.remove()
    place = next((place for place, states in enumerate(made) if states), None)
    if place is None or len(made[place]) != 1:
        return None
    return _Ran(bodies[place], made[place][0], output.shape[-1])


def _sliced(
    loaded: LoadedModel,
    batch: Mapping[str, Any],
    real: torch.Tensor | None,
    number: int,
    once: _Ran,
) -> Outputs:
    states = once.given
    hidden = next(iter(states.values())) if isinstance(states, Mapping) else states[0]
    _expect_finite(loaded, hidden, number)
    count, length = batch["input_ids"].shape
    width = max(1, SLICE_BYTES // (4 * count * once.features))
    given = _quick(loaded, batch)

    def parts() -> Iterator[Part]:
        for start in range(0, length, width):
            kept = torch.arange(start, min(start + width, length), device=hidden.device)
            with standing_in([once.body], [lambda *args, **kwargs: states]):
                made = forward(loaded.module, {**given, POSITIONS: kept}, _where(number))
            yield Part(_output(loaded, made, number), start, real)

    return Outputs(hidden, real, count, parts())


def _where(number: int) -> str:
    return f"batch {number} of the held-out data"


def _output(loaded: LoadedModel, made: Any, number: int) -> torch.Tensor:
    output = _first_tensor(made)
    if output is None:
        raise InputError(f"{loaded.name}: its forward gave a {type(made).__name__} with no tensor")
    _expect_finite(loaded, output, number)
    return output


def _expect_finite(loaded: LoadedModel, tensor: torch.Tensor | None, number: int) -> None:
    if tensor is not None and not bool(torch.isfinite(tensor).all()):
        raise InputError(
            f"{loaded.name}: its outputs on batch {number} are not finite (NaN or infinity)"
        )


def _first_tensor(made: Any) -> torch.Tensor | None:
    """Logits where there are any, else the first floating tensor."""
    if isinstance(made, torch.Tensor):
        return made if made.is_floating_point() else None
    if isinstance(made, Mapping):
        logits = made.get("logits")
        values = [logits] if logits is not None else list(made.values())
    else:
        values = list(made) if isinstance(made, tuple | list) else []
    return next((found for v in values if (found := _first_tensor(v)) is not None), None)

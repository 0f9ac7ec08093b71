"""A model's blocks run one at a time, on states that are kept between them.

    for each block:  for each batch:  x <- block(x, what else it was given)

A forward of the whole model shows block 0 its input and every block its other arguments; the blocks
themselves are stood in for by functions that return what they are given, and the forward ends at
the last of them, so it costs next to nothing. Layers before the blocks see whole forwards that end
where the blocks begin; layers behind them see the states that the blocks gave in the end.

What is kept must not depend on the blocks: of the first batch, arguments seen with stand-ins must
be those of a real forward, and blocks run one at a time must give its states, both to the last bit;
else there is no walk. One block at a time is on the device, and moves back when it is done.
"""

import tempfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from functools import partial
from pathlib import Path
from typing import Any

import psutil
import torch
from safetensors.torch import load_file, save_file
from torch import nn

from maskgap.instances.errors import InputError
from maskgap.instances.models.calibration import Batch
from maskgap.instances.models.chain import Call, Chain
from maskgap.instances.models.collect import (
    Collection,
    Collector,
    Progress,
    calm,
    collect,
    failed,
    forward,
    padding_of,
)
from maskgap.instances.models.linear import Site

SHARE_OF_MEMORY = 4
"""States take at most one part in so many of the memory that is free; more lie on disk."""


class _End(BaseException):
    """A forward has come far enough."""


class States:
    """The states of batches by number, in memory or, where that has no room for them, on disk."""

    def __init__(self, scratch: Path | None) -> None:
        self._room = psutil.virtual_memory().available // SHARE_OF_MEMORY
        self._held: dict[int, torch.Tensor] = {}
        self._stored: set[int] = set()
        self._scratch = scratch
        self._folder: tempfile.TemporaryDirectory[str] | None = None

    def put(self, number: int, states: torch.Tensor) -> None:
        """Keep the states of a batch in place of those it had."""
        own = states.to("cpu")
        if number not in self._held and (number in self._stored or own.nbytes > self._room):
            self._stored.add(number)
            save_file({"states": own.contiguous()}, self._file(number))
            return
        self._room -= own.nbytes - (self._held[number].nbytes if number in self._held else 0)
        self._held[number] = own

    def get(self, number: int) -> torch.Tensor:
        """The states of a batch, which the caller may change."""
        if number in self._held:
            return self._held[number].clone()
        return load_file(self._file(number))["states"]

    def close(self) -> None:
        """Let go of all of them."""
        self._held.clear()
        if self._folder is not None:
            self._folder.cleanup()

    def _file(self, number: int) -> Path:
        if self._folder is None:
            self._folder = tempfile.TemporaryDirectory(prefix=".states-", dir=self._scratch)
        return Path(self._folder.name) / f"{number}.safetensors"


class Side:
    """One set of batches on its way: calibration or held-out data, named by `what`."""

    def __init__(self, model: nn.Module, chain: Chain, batches: Sequence[Batch], what: str) -> None:
        self.model, self.chain, self.batches, self.what = model, chain, batches, what
        self.masks = [padding_of(batch, number) for number, batch in enumerate(batches, start=1)]
        self.calls: list[list[Call]] = []

    def where(self, number: int) -> str:
        """How a batch is named in an error."""
        return f"batch {number + 1} of the {self.what} data"


class Walk:
    """The walk over one model. device: where blocks run. scratch: folder for states on disk."""

    def __init__(
        self,
        model: nn.Module,
        chain: Chain,
        device: torch.device | None,
        scratch: Path | None = None,
    ) -> None:
        self._model, self._chain, self._device = model, chain, device
        self._scratch = scratch
        self._states: dict[str, States] = {}

    @property
    def length(self) -> int:
        """How many blocks there are."""
        return len(self._chain.blocks)

    def side(self, batches: Sequence[Batch], what: str) -> Side:
        """Take batches up to the first block. Raises InputError when a forward fails."""
        side = Side(self._model, self._chain, batches, what)
        states = self._states[what] = States(self._scratch)
        for number, batch in enumerate(batches):
            calls = self._calls(batch, side.where(number))
            states.put(number, calls[0].at(self._chain.place).clone())
            side.calls.append([call.put(self._chain.place, None) for call in calls])
        return side

    def holds(self, batch: Batch) -> bool:
        """Whether blocks run one at a time do as the whole model, tried on the first batch.

        They are run where they are: on another device all numbers differ in their last bits.
        """
        chain = self._chain
        try:
            calls = self._calls(batch, "batch 1 of the calibration data")
        except InputError:  # the model cannot do without what else its blocks return
            return False
        for seen, kept in zip(chain.calls, calls, strict=True):
            if seen.places() != kept.places():
                return False
            if not all(
                _same(seen.at(place), kept.at(place))
                for place in kept.places()
                if place != chain.place
            ):
                return False
        if not _same(calls[0].at(chain.place), chain.calls[0].at(chain.place)):
            return False
        states = calls[0].at(chain.place)
        with calm(self._model):
            for block, call in zip(chain.blocks, calls, strict=True):
                states = self._run(block, call, states.clone(), "batch 1 of the calibration data")
        return _same(states, chain.last)

    def collect(
        self, side: Side, share: Sequence[Site], number: int, progress: Progress | None, keep: bool
    ) -> dict[str, Collector]:
        """What a block gives the matrices in `share`; keep: the states it returns take over."""
        block, states = self._chain.blocks[number], self._states[side.what]
        passed = States(self._scratch)

        def run(collection: Collection) -> None:
            for place, calls in enumerate(side.calls):
                collection.mask = side.masks[place]
                found = self._run(block, calls[number], states.get(place), side.where(place))
                collection.end_batch()
                if keep:
                    passed.put(place, found)
                if progress is not None:
                    what = f"block {number + 1} of {self.length}, {side.what}"
                    progress(place + 1, len(side.calls), what)

        with self._on_device(block):
            found = collect(self._model, share, run)
        if keep:
            states.close()
            self._states[side.what] = passed
        return found

    def advance(self, side: Side, number: int) -> None:
        """Replace the states by what a block makes of them."""
        block, states = self._chain.blocks[number], self._states[side.what]
        with calm(self._model), self._on_device(block):
            for place, calls in enumerate(side.calls):
                found = self._run(block, calls[number], states.get(place), side.where(place))
                states.put(place, found)

    def front(self, side: Side, share: Sequence[Site]) -> dict[str, Collector]:
        """What layers before the blocks are given."""
        return self._beside(side, share, lambda place: _ending)

    def rear(self, side: Side, share: Sequence[Site]) -> dict[str, Collector]:
        """What layers behind the blocks are given, once all blocks are done."""
        states = self._states[side.what]
        return self._beside(side, share, lambda place: self._giving(states.get(place)))

    def close(self) -> None:
        """Let go of all states."""
        for states in self._states.values():
            states.close()

    def _run(self, block: nn.Module, call: Call, states: torch.Tensor, where: str) -> torch.Tensor:
        """What a block makes of states. Raises InputError when it fails."""
        full = call.put(self._chain.place, states)
        home = next((p.device for p in block.parameters()), states.device)
        args, kwargs = _moved(full.args, home), _moved(dict(full.kwargs), home)
        try:
            return self._chain.states(block(*args, **kwargs))
        except Exception as error:  # the model's own code may raise anything
            raise failed(where, error) from error

    def _beside(
        self, side: Side, share: Sequence[Site], stand_in: Callable[[int], Callable[..., Any]]
    ) -> dict[str, Collector]:
        """Whole forwards with stand-ins for the blocks."""

        def run(collection: Collection) -> None:
            for place, batch in enumerate(side.batches):
                collection.mask = side.masks[place]
                with self._replaced([stand_in(place)] * self.length):
                    self._forward(batch, side.where(place))
                collection.end_batch()

        return collect(self._model, share, run)

    def _calls(self, batch: Batch, where: str) -> list[Call]:
        """The arguments of each block in a forward in which blocks return what they are given."""
        calls: dict[int, Call] = {}

        def passing(number: int, *args: Any, **kwargs: Any) -> Any:
            calls[number] = Call(args, kwargs)
            if number == self.length - 1:
                raise _End
            return self._wrap(calls[number].at(self._chain.place))

        with calm(self._model), self._replaced([partial(passing, n) for n in range(self.length)]):
            self._forward(batch, where)
        if list(calls) != list(range(self.length)):
            raise InputError(f"{where} calls other blocks than the first batch did")
        return list(calls.values())

    def _giving(self, states: torch.Tensor) -> Callable[..., Any]:
        def giving(*args: Any, **kwargs: Any) -> Any:
            given = Call(args, kwargs).at(self._chain.place)
            return self._wrap(states.to(given.device))

        return giving

    def _wrap(self, states: torch.Tensor) -> Any:
        others = self._chain.others
        return states if others is None else (states, *[None] * others)

    def _forward(self, batch: Batch, where: str) -> None:
        """A forward that may end early. Raises InputError when it fails."""
        with suppress(_End):
            forward(self._model, batch, where)

    @contextmanager
    def _replaced(self, stand_ins: Sequence[Callable[..., Any]]) -> Iterator[None]:
        """Blocks whose forward is another function; they have their own again in the end."""
        own = [vars(block).get("forward") for block in self._chain.blocks]
        try:
            for block, stand_in in zip(self._chain.blocks, stand_ins, strict=True):
                vars(block)["forward"] = stand_in
            yield
        finally:
            for block, forward_ in zip(self._chain.blocks, own, strict=True):
                del vars(block)["forward"]
                if forward_ is not None:
                    vars(block)["forward"] = forward_

    @contextmanager
    def _on_device(self, block: nn.Module) -> Iterator[None]:
        """A block on the device where blocks run, and back where it was."""
        home = next((p.device for p in block.parameters()), None)
        if self._device is None or home is None or home == self._device:
            yield
            return
        block.to(self._device)
        try:
            yield
        finally:
            block.to(home)


def _ending(*args: Any, **kwargs: Any) -> Any:
    raise _End


def _same(one: Any, other: Any) -> bool:
    """Whether two arguments are alike to the last bit."""
    if isinstance(one, torch.Tensor) and isinstance(other, torch.Tensor):
        alike = one.dtype == other.dtype and one.shape == other.shape
        return alike and torch.equal(one.to("cpu"), other.to("cpu"))
    if isinstance(one, tuple | list) and isinstance(other, tuple | list):
        return len(one) == len(other) and all(map(_same, one, other))
    if isinstance(one, Mapping) and isinstance(other, Mapping):
        return one.keys() == other.keys() and all(_same(one[key], other[key]) for key in one)
    return type(one) is type(other) and bool(one == other)


def _moved(value: Any, device: torch.device) -> Any:
    """A value with its tensors on a device."""
    if isinstance(value, torch.Tensor):
        return value.to(device)
    if isinstance(value, tuple | list):
        return type(value)(_moved(part, device) for part in value)
    if isinstance(value, Mapping):
        return {key: _moved(part, device) for key, part in value.items()}
    return value

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

from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager, suppress
from functools import partial
from pathlib import Path
from typing import Any

import torch
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
from maskgap.instances.models.kept_calls import Known, moved, same, tensors_of
from maskgap.instances.models.linear import Site
from maskgap.instances.models.stand_in import standing_in
from maskgap.instances.models.states import States

Passed = Callable[[int], AbstractContextManager[None]]
"""Of a batch by its number, from 0: inside, its forward through the whole model takes the states
that its blocks gave in the place of running them."""


class _End(BaseException):
    """A forward has come far enough."""


class Side:
    """One set of batches on its way: calibration or held-out data, named by `what`."""

    def __init__(self, model: nn.Module, chain: Chain, batches: Sequence[Batch], what: str) -> None:
        self.model, self.chain, self.batches, self.what = model, chain, batches, what
        self.masks = [padding_of(model, batch, n) for n, batch in enumerate(batches, start=1)]
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
        side, place = Side(self._model, self._chain, batches, what), self._chain.place
        if what in self._states:
            self._states[what].close()
        states, known = States(self._scratch), Known()
        self._states[what] = states
        for number, batch in enumerate(batches):
            calls = self._calls(batch, side.where(number))
            states.put(number, calls[0].at(place).clone())
            side.calls.append([known.call(call.put(place, None)) for call in calls])
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
                same(seen.at(place), kept.at(place))
                for place in kept.places()
                if place != chain.place
            ):
                return False
        if not same(calls[0].at(chain.place), chain.calls[0].at(chain.place)):
            return False
        states = calls[0].at(chain.place)
        given = [t for call in calls for t in tensors_of(call.put(chain.place, None))]
        versions = [_version(tensor) for tensor in given]
        try:
            with calm(self._model):
                for block, call in zip(chain.blocks, calls, strict=True):
                    where = "batch 1 of the calibration data"
                    states = self._run(block, call, states.clone(), where)
        except InputError:  # its other arguments are more than they seem
            return False
        if versions != [_version(tensor) for tensor in given]:
            return False  # a block writes into what it is given, and may be run again
        return same(states, chain.last)

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

    def passed(self, side: Side) -> Passed:
        """Forwards without the blocks, once all of them are done; the states are no longer ours."""
        states = self._states.pop(side.what)
        return lambda place: standing_in(
            self._chain.blocks, [self._giving(states.get(place))] * self.length
        )

    def close(self) -> None:
        """Let go of all states."""
        for states in self._states.values():
            states.close()

    def _run(self, block: nn.Module, call: Call, states: torch.Tensor, where: str) -> torch.Tensor:
        """What a block makes of states. Raises InputError when it fails."""
        full = call.put(self._chain.place, states)
        home = next((p.device for p in block.parameters()), states.device)
        args, kwargs = moved(full.args, home), moved(dict(full.kwargs), home)
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
                with standing_in(self._chain.blocks, [stand_in(place)] * self.length):
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

        stand_ins = [partial(passing, number) for number in range(self.length)]
        with calm(self._model), standing_in(self._chain.blocks, stand_ins):
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


def _version(tensor: torch.Tensor) -> int:
    """A number that grows when somebody writes into a tensor, where torch counts that."""
    return 0 if tensor.is_inference() else tensor._version

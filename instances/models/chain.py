"""Whether the blocks of a model are a chain: called one after another, each on what the last gave.

    x_{i+1} = block_i(x_i, rest_i)        i = 0, 1, ..., n - 1

where x_0 and what else a block is given (masks, positions, settings) do not depend on any block.
Such blocks can be run by themselves, one at a time, on states that are kept between them
(`instances.models.walk`). Blocks are the elements of the one ModuleList, no element of another,
that the chosen layers lie in. Whether they are a chain is seen from one forward, never from names:
each is called once, in order; the output of one is the argument of the next, the same tensor; what
else it returns (attention weights) goes nowhere, which is believed only where no layer behind the
blocks is asked for, and stood in for by None; and its other arguments are tensors and plain values,
no caches. That what is kept does not depend on the blocks is tried by the walk before it is relied
on.

Encoders beside decoders, blocks called twice, stages with something between them are no chain.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Any

import torch
from torch import nn

from maskgap.instances.models.calibration import Batch
from maskgap.instances.models.collect import calm, forward
from maskgap.instances.models.linear import Site

Place = int | str
"""A position among the arguments of a call, or the name of a keyword."""

PLAIN = (torch.Tensor, bool, int, float, str, torch.dtype, torch.device)
"""Arguments that can be given again."""


@dataclass(frozen=True, eq=False)
class Call:
    """Arguments of one call of a block."""

    args: tuple[Any, ...]
    kwargs: Mapping[str, Any]

    def at(self, place: Place) -> Any:
        """The argument at a place, or None."""
        if isinstance(place, str):
            return self.kwargs.get(place)
        return self.args[place] if place < len(self.args) else None

    def places(self) -> list[Place]:
        """Where arguments are."""
        return [*range(len(self.args)), *self.kwargs]

    def put(self, place: Place, value: Any) -> "Call":
        """The call with another argument at a place."""
        if isinstance(place, str):
            return Call(self.args, {**self.kwargs, place: value})
        return Call((*self.args[:place], value, *self.args[place + 1 :]), self.kwargs)


class Part(StrEnum):
    """Where in a forward a layer is first used."""

    FRONT = "front"
    BLOCKS = "blocks"
    REAR = "rear"


@dataclass(frozen=True, eq=False)
class Chain:
    """The blocks and how they are called, as the first batch showed it.

    name: of their list. place: of the states among the arguments. others: None where a block
    returns the states alone; else it returns a tuple that begins with them, and has so many other
    entries. calls: of the first batch, the arguments of each block, states only of the first. last:
    what the last block gave.
    """

    name: str
    blocks: Sequence[nn.Module]
    place: Place
    others: int | None
    calls: Sequence[Call]
    last: torch.Tensor

    def states(self, output: Any) -> torch.Tensor:
        """The states in what a block returned."""
        found: torch.Tensor = output if self.others is None else output[0]
        return found


@dataclass(frozen=True, eq=False)
class Survey:
    """What one forward showed. order: layers as they are first used, unused ones last.

    chain: of blocks, or None for the reason `why`. block: number of the block of each layer there.
    part: of each layer.
    """

    order: list[Site]
    chain: Chain | None
    why: str
    block: Mapping[str, int]
    part: Mapping[str, Part]


class _Broken(Exception):  # noqa: N818 - an answer, no fault
    """Why blocks are no chain."""


@dataclass(eq=False)
class _Seen:
    """One call of a block. places: where it was given what the call before returned.

    states: what it returned, until the next call ends. others: as in Chain. more: whether any of
    them is not None. fault: of its output.
    """

    module: nn.Module
    call: Call
    places: list[Place]
    states: torch.Tensor | None = None
    others: int | None = None
    more: bool = False
    fault: str | None = None

    def take(self, output: Any) -> None:
        """Look at what the call returned."""
        first, *rest = output if isinstance(output, tuple) and output else (output,)
        if not isinstance(first, torch.Tensor):
            self.fault = f"returns a {type(first).__name__}"
        else:
            self.states = first
            self.more = any(other is not None for other in rest)
            self.others = len(rest) if isinstance(output, tuple) else None


def survey(model: nn.Module, sites: Sequence[Site], batch: Batch) -> Survey:
    """Run one batch and look at how blocks are called. Raises InputError when the forward fails."""
    stacks = dict(_stacks(model, sites))
    blocks = [(name, block) for name, stack in stacks.items() for block in stack]
    events: list[nn.Module] = []
    seen: list[_Seen] = []
    waiting: list[_Seen] = []

    def before(module: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
        call = Call(args, dict(kwargs))
        last = None if not seen else seen[-1].states
        places = [] if last is None else [p for p in call.places() if call.at(p) is last]
        for place in places:  # states of one block at a time are held
            call = call.put(place, None)
        waiting.append(_Seen(module, call, places))

    def after(module: nn.Module, args: tuple[Any, ...], output: Any) -> None:
        if seen:
            seen[-1].states = None
        seen.append(waiting.pop())
        seen[-1].take(output)

    used = dict.fromkeys(module for site in sites for module, _ in site.uses)
    marks = dict.fromkeys([*used, *(block for _, block in blocks)])
    handles = [
        m.register_forward_pre_hook(lambda module, args: events.append(module)) for m in marks
    ]
    handles += [b.register_forward_pre_hook(before, with_kwargs=True) for _, b in blocks]
    handles += [b.register_forward_hook(after) for _, b in blocks]
    with calm(model):
        try:
            forward(model, batch, "batch 1 of the calibration data")
        finally:
            for handle in handles:
                handle.remove()
    places = {module: place for place, module in reversed(list(enumerate(events)))}
    first = {
        site.name: min(places.get(module, len(events)) for module, _ in site.uses) for site in sites
    }
    order = sorted(sites, key=lambda site: first[site.name])
    try:
        name, stack = _only(stacks)
        block = dict(_blocks_of(stack, sites))
        chain = _chain(name, list(stack), seen)
    except _Broken as error:
        return Survey(order, None, str(error), {}, {})
    begun = places[chain.blocks[0]]
    part = {
        s.name: Part.BLOCKS
        if s.name in block
        else Part.FRONT
        if first[s.name] < begun
        else Part.REAR
        for s in order
    }
    if any(one.more for one in seen) and Part.REAR in part.values():
        why = f"a block of {name} returns more than states, which layers behind may be given"
        return Survey(order, None, why, {}, {})
    return Survey(order, chain, "", block, part)


def has_blocks(model: nn.Module, sites: Sequence[Site]) -> bool:
    """Whether any layer lies in a list of modules; a forward is of no use else."""
    return any(True for _ in _stacks(model, sites))


def _stacks(model: nn.Module, sites: Sequence[Site]) -> Iterator[tuple[str, nn.ModuleList]]:
    """The lists of modules that layers lie in, outermost ones."""
    used = {id(module) for site in sites for module, _ in site.uses}
    outer: list[str] = []
    for name, module in model.named_modules():
        inside = any(name == top or name.startswith(f"{top}.") for top in outer)
        if isinstance(module, nn.ModuleList) and not inside:
            outer.append(name)
            if any(id(part) in used for part in module.modules()):
                yield name, module


def _only(stacks: Mapping[str, nn.ModuleList]) -> tuple[str, nn.ModuleList]:
    if len(stacks) != 1:
        raise _Broken(
            f"its layers lie in several lists of blocks ({', '.join(stacks)})"
            if stacks
            else "its layers lie in no list of blocks"
        )
    return next(iter(stacks.items()))


def _blocks_of(stack: nn.ModuleList, sites: Sequence[Site]) -> Iterator[tuple[str, int]]:
    """The block of each layer in the list. Raises _Broken for one that is used elsewhere too."""
    home = {id(part): number for number, block in enumerate(stack) for part in block.modules()}
    for site in sites:
        homes = {home.get(id(module), -1) for module, _ in site.uses}
        if len(homes) > 1:
            raise _Broken(f"{site.name} is used in more than one block")
        (number,) = homes
        if number >= 0:
            yield site.name, number


def _chain(name: str, blocks: list[nn.Module], seen: list[_Seen]) -> Chain:
    if [one.module for one in seen] != blocks:
        raise _Broken(f"the blocks of {name} are not called once each, in order")
    for one in seen:
        if one.fault:
            raise _Broken(f"a block of {name} {one.fault}")
        if one.others != seen[0].others:
            raise _Broken(f"the blocks of {name} return different things")
        values = (*one.call.args, *one.call.kwargs.values())
        odd = next((kind for value in values for kind in _odd(value)), None)
        if odd is not None:
            raise _Broken(f"a block of {name} is given a {odd}, which may change between calls")
    first = seen[0].call
    if len(seen) == 1:
        found = [[p for p in first.places() if isinstance(first.at(p), torch.Tensor)][:1]]
    else:
        found = [one.places for one in seen[1:]]
    if any(len(places) != 1 for places in found):
        raise _Broken(f"a block of {name} is not given what the one before it returned")
    if len({places[0] for places in found}) != 1:
        raise _Broken(f"the blocks of {name} are given their states in different ways")
    place, last = found[0][0], seen[-1].states
    if last is None or not isinstance(first.at(place), torch.Tensor):
        raise _Broken(f"a block of {name} is given no states")
    return Chain(name, blocks, place, seen[0].others, [one.call for one in seen], last)


def _odd(value: Any) -> Iterator[str]:
    """Kinds of values among an argument that may not be kept for another call."""
    if isinstance(value, tuple | list):
        for part in value:
            yield from _odd(part)
    elif isinstance(value, Mapping):
        for part in value.values():
            yield from _odd(part)
    elif value is not None and not isinstance(value, PLAIN):
        yield type(value).__name__

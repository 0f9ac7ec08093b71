"""How calibration data go through a model: in which passes, and for which matrices each.

Blocks that are called one after another are run one at a time, on states kept between them
(`instances.models.walk`): one forward of each block, or two where the caller prunes layers as they
come and later ones are to see that. Other models run whole, once for each share of the matrices
whose Grams are held at once, and to propagate once for each block.
"""

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import torch

from maskgap.instances.models.calibration import Batch
from maskgap.instances.models.chain import Part, Survey, has_blocks, survey
from maskgap.instances.models.collect import Collector, Progress, accumulate
from maskgap.instances.models.linear import Site
from maskgap.instances.models.memory import tied_by_memory_alone
from maskgap.instances.models.own import moved
from maskgap.instances.models.walk import Passed, Walk

Settled = Callable[[Sequence[Site]], bool]
"""Called with matrices before their inputs are collected. True: nothing is wanted of them, and what
is done to them is done."""


@dataclass(frozen=True, slots=True)
class Running:
    """Where data run, and what is said of it.

    device: where blocks that are run one at a time run, each in its turn, and whole models; None:
    where they are. scratch: folder for states of blocks that memory has no room for; None: that of
    temporary files. notice: called with a line where blocks of a model cannot be run one at a time.
    settled: called with each share of the layers before its inputs are collected. passed: called in
    the end with what spares a forward of the calibration data its blocks, where they were run one
    at a time; None where nobody wants it.
    """

    device: torch.device | None = None
    scratch: Path | None = None
    notice: Callable[[str], None] = lambda line: None
    settled: Settled = lambda share: False
    passed: Callable[[Passed], None] | None = None


@dataclass(frozen=True, slots=True)
class PassOptions:
    """How data run.

    gram_bytes: of the Grams held at once. propagate: later layers see what the model gives them
    once the caller changed earlier ones.
    """

    gram_bytes: int
    propagate: bool
    progress: Progress | None
    running: Running


Sums = list[dict[str, Collector]]
"""What the matrices of a share are given, by name: by calibration, and by held-out data."""


def collected(
    model: torch.nn.Module,
    chosen: list[Site],
    data: Mapping[str, list[Batch]],
    options: PassOptions,
) -> Iterator[tuple[list[Site], Sums]]:
    """Shares of the matrices with their sums, which the next share comes after.

    Blocks that are a chain are run one at a time; else all runs whole, for each share.
    """
    entries = options.gram_bytes // (8 * len(data))
    first = next(iter(data["calibration"]), None)
    if first is not None and has_blocks(model, chosen):
        seen = survey(model, chosen, first)
        if seen.chain is not None:
            device = options.running.device
            if device is not None and device.type != "cpu" and tied_by_memory_alone(model):
                options.running.notice(f"blocks stay off {device}: a move would take ties apart")
                device = None
            walk = Walk(model, seen.chain, device, options.running.scratch)
            try:
                if walk.holds(first):
                    yield from _walked(walk, seen, data, entries, options)
                    return
            finally:
                walk.close()
        why = seen.why or "its blocks by themselves do not do as they do in the model"
        if options.propagate:
            options.running.notice(
                f"each block takes a pass of all data through the whole model: {why}"
            )
    elif first is None or not options.propagate:
        seen = Survey(chosen, None, "", {}, {})
    else:
        seen = survey(model, chosen, first)
    if options.running.device is not None:
        moved("the model", model, options.running.device)
    stages = _blocks(model, seen.order) if options.propagate else [chosen]
    shares = [share for stage in stages for share in _shares(stage, entries)]
    for number, share in enumerate(shares, start=1):
        if options.running.settled(share):
            continue
        where = f"pass {number} of {len(shares)}, " if len(shares) > 1 else ""
        yield (
            share,
            [
                accumulate(model, share, batches, f"{where}{what}", options.progress)
                for what, batches in data.items()
            ],
        )


def _walked(
    walk: Walk, seen: Survey, data: Mapping[str, list[Batch]], entries: int, options: PassOptions
) -> Iterator[tuple[list[Site], Sums]]:
    """Shares of the matrices before, in and behind the blocks."""
    sides = [walk.side(batches, what) for what, batches in data.items()]
    parts = {part: [site for site in seen.order if seen.part[site.name] is part] for part in Part}
    single = 0 if options.propagate else entries  # to propagate, each sees those before it pruned
    for share in _shares(parts[Part.FRONT], single):
        if options.running.settled(share):
            continue
        yield share, [walk.front(side, share) for side in sides]
    if options.propagate and parts[Part.FRONT]:
        sides = [walk.side(batches, what) for what, batches in data.items()]
    of_block: dict[int, list[Site]] = {}
    for site in parts[Part.BLOCKS]:
        of_block.setdefault(seen.block[site.name], []).append(site)
    passes = options.running.passed
    behind = bool(parts[Part.REAR]) or passes is not None
    for number in range(walk.length if behind else max(of_block, default=-1) + 1):
        passed = False
        shares = _shares(of_block.get(number, []), entries)
        for place, share in enumerate(shares):
            if options.running.settled(share):
                continue
            passed = not options.propagate and place == len(shares) - 1
            yield (
                share,
                [walk.collect(side, share, number, options.progress, passed) for side in sides],
            )
        if not passed:
            for side in sides:
                walk.advance(side, number)
    for share in _shares(parts[Part.REAR], single):
        if options.running.settled(share):
            continue
        yield share, [walk.rear(side, share) for side in sides]
    if passes is not None:
        passes(walk.passed(sides[0]))


def as_list(batches: Iterable[Batch]) -> list[Batch]:
    """Batches that can be run more than once."""
    return batches if isinstance(batches, list) else list(batches)


def _blocks(model: torch.nn.Module, ordered: list[Site]) -> list[list[Site]]:
    """The layers by the blocks they are in, blocks in the order of their first use.

    A block is the outermost element of a ModuleList around a layer, else the layer alone.
    """
    lists = {n for n, m in model.named_modules() if isinstance(m, torch.nn.ModuleList)}
    blocks: dict[str, list[Site]] = {}
    for site in ordered:
        parts = site.name.split(".")
        depth = next((i for i in range(len(parts)) if ".".join(parts[:i]) in lists), None)
        block = site.name if depth is None else ".".join(parts[: depth + 1])
        blocks.setdefault(block, []).append(site)
    return list(blocks.values())


def _shares(chosen: list[Site], entries: int) -> list[list[Site]]:
    """The layers in consecutive shares whose Grams have at most so many entries in all."""
    shares: list[list[Site]] = []
    left = 0
    for site in chosen:
        size = site.d_in**2
        if not shares or size > left:
            shares.append([])
            left = entries
        shares[-1].append(site)
        left -= size
    return shares

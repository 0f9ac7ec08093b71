"""Pruning on its way through the layers of a model: a mask for each, noted before the next begins.

Masks go into the model at once where later layers are to see it pruned, else all at the end.
"""

import time
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch

from maskgap.benchmarks.models.journal import Journal
from maskgap.benchmarks.models.ledger import Ledger, Weights, in_dtype_of
from maskgap.benchmarks.models.masks import Choice, Masks
from maskgap.benchmarks.models.reports import Report, report
from maskgap.instances.arrays import Kept, Matrix
from maskgap.instances.errors import InputError
from maskgap.instances.formats.files import mask_path, mask_tensors
from maskgap.instances.formats.tensors import read_tensors
from maskgap.instances.layer import Layer
from maskgap.instances.models.linear import Site
from maskgap.instances.models.pace import Pace

Say = Callable[[str], None]


class Course:
    """Pruning on its way: what is done to each layer, in the order in which layers come.

    device: of torch, for errors. journal, folder: where it is noted, and where mask files go; None:
    nothing is written. masks: by layer, (d_out, d_in).
    """

    def __init__(
        self,
        masks: Masks,
        journal: Journal | None,
        ledger: Ledger,
        sites: Sequence[Site],
        *,
        folder: Path | None = None,
        at_once: bool,
        device: str = "cpu",
        say: Say,
    ) -> None:  # fmt: skip
        self._masks, self._journal, self._folder, self._ledger = masks, journal, folder, ledger
        self._sites = {site.name: site for site in sites}
        self._at_once, self._device, self.say = at_once, device, say
        self._waiting: list[tuple[Site, Kept, Weights | None]] = []
        self.reports: list[Report] = []
        self.masks: dict[str, Kept] = {}
        work = {site.name: float(site.d_out * site.d_in**2) for site in sites}
        self._before = {} if journal is None else dict(journal.reports)
        self._known = {*self._before, *(() if journal is None else journal.left_out)}
        before = sum(work[name] for name in self._known)
        self._work, self.pace = work, Pace(sum(work.values()), before, before)

    def settled(self, share: Sequence[Site]) -> bool:
        """Whether an earlier call was done with all these layers, which are pruned then."""
        if not all(site.name in self._known for site in share):
            return False
        for site in share:
            if site.name in self._before:
                self._again(site)
        return True

    def expect_found_for(self, layer: Layer, path: Path) -> None:
        """Raise InputError unless the mask of a settled layer was found for the layer of a file."""
        mask = mask_path(self._folder or Path(), layer.name)
        if read_tensors(mask)[1].get("digest") != layer.digest:
            raise InputError(
                f"{path}: is not the file that {mask.name} was found for; begin anew with "
                "another --out"
            )

    def skipped(self, name: str, reason: str) -> None:
        """Note a layer without inputs."""
        self.say(f"{name} is left out: {reason}")
        if name not in self._known:
            self.pace.amount -= self._work[name]
        if self._journal is not None:
            self._journal.skipped(name, reason)

    def take(self, layer: Layer) -> None:
        """Find the mask of a layer, or take the one that an earlier call found."""
        site = self._sites[layer.name]
        if layer.name in self._before:
            self._again(site)
            return
        begun = time.perf_counter()
        choice = self._masks.of(layer)
        if self._folder is not None:
            choice.write(self._folder, layer)
        choice = _as_stored(choice, site)
        one = report(layer, choice, time.perf_counter() - begun, self._device)
        self.reports.append(one)
        if self._journal is not None:
            self._journal.done(one)
        self.pace.done += self._work[layer.name]
        self.say(_progress(one, len(self.reports), len(self._sites), self.pace.told()))
        self._put(site, choice)

    def finish(self) -> None:
        """Write into the model what has waited for the last layer."""
        for site, mask, weights in self._waiting:
            self._ledger.apply(site, mask, weights)

    def _again(self, site: Site) -> None:
        one = self._before[site.name]
        self.reports.append(one)
        path = mask_path(self._folder or Path(), site.name)
        mask, weights = mask_tensors(path, read_tensors(path)[0], (site.d_out, site.d_in))
        choice = Choice(
            mask, one.pattern, one.solver, range(site.d_out), one.objective, weights
        )  # fmt: skip
        self._put(site, _as_stored(choice, site))

    def _put(self, site: Site, choice: Choice) -> None:
        self.masks[site.name] = choice.mask
        if self._at_once:
            self._ledger.apply(site, choice.mask, choice.weights)
        else:
            self._waiting.append((site, choice.mask, _short(choice.weights, site)))


def _as_stored(choice: Choice, site: Site) -> Choice:
    """A choice with the weights that the model can hold: rounded to the dtype of its matrix."""
    if choice.weights is None:
        return choice
    rounded = in_dtype_of(site, choice.weights).double().numpy()
    return replace(choice, weights=rounded)


def _short(weights: Matrix | None, site: Site) -> Weights | None:
    """Weights that the model can hold, in no more digits than that takes: they wait long."""
    if weights is None or site.tensor.dtype == torch.float64:
        return weights
    return weights.astype(np.float32)


def _progress(one: Report, done: int, of: int, pace: str) -> str:
    return (
        f"{done} of {of}: {one.layer}: error {one.error:.6g}, relative {one.relative_error:.3%}, "
        f"{one.sparsity:.2%} pruned, {one.seconds:.1f} s; {pace}"
    )

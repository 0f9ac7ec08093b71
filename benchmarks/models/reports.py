"""What a mask costs on a layer.

    error(M) = || W X - (M * W) X ||_F^2 = sum over rows of r G r^T,    r = w * (1 - m)
    relative = error(M) / error(nothing kept) = error(M) / || W X ||_F^2

both in float64 from the layer and the mask. Where the weights that stay have been re-optimised to
x, r is w - x; the ridge that they were found with is no part of the error.
"""

from dataclasses import dataclass
from functools import partial
from math import fsum

import numpy as np

from maskgap.benchmarks.models.masks import Choice
from maskgap.instances.arrays import Kept, Matrix, pruned_of
from maskgap.instances.change import change_errors
from maskgap.instances.layer import Layer
from maskgap.instances.masks.patterns import parse_pattern
from maskgap.instances.objective import MASK, ObjectiveSpec
from maskgap.instances.problem import Problem

NOTHING_PRUNED = parse_pattern("0%")


@dataclass(frozen=True, slots=True)
class Report:
    """What pruning does to one layer. error, energy: of the mask, and of keeping nothing.

    error_eval, energy_eval: the same on held-out inputs, or None. sparsity: share of exact zeros
    that the mask makes. seconds: to find or read the mask. objective: that the mask was found by.
    """

    layer: str
    d_out: int
    d_in: int
    pattern: str
    solver: str
    pruned: int
    error: float
    energy: float
    error_eval: float | None
    energy_eval: float | None
    seconds: float
    objective: ObjectiveSpec = MASK

    @property
    def sparsity(self) -> float:
        """Share of the weights that are pruned."""
        return self.pruned / (self.d_out * self.d_in)

    @property
    def relative_error(self) -> float:
        """Error / energy; 0 where both are 0."""
        return ratio(self.error, self.energy)

    def line(self) -> dict[str, object]:
        """All of it, for JSON."""
        own = {name: getattr(self, name) for name in self.__dataclass_fields__}
        objective = own.pop("objective")
        if objective.refits:
            own |= {"objective": str(objective.name), "ridge": objective.ridge}
        return {**own, "sparsity": self.sparsity, "relative_error": self.relative_error}


def report(layer: Layer, choice: Choice, seconds: float, device: str = "cpu") -> Report:
    """What a mask costs on a layer, recomputed where no certificate says it.

    device: of torch, for the products with the Gram.
    """
    nothing = np.zeros_like(choice.mask)
    error = partial(error_of, layer, device=device)
    held_out = layer.gram_eval
    return Report(
        layer.name,
        layer.d_out,
        layer.d_in,
        choice.pattern,
        choice.solver,
        int(pruned_of(choice.mask).sum()),
        error(choice.mask, weights=choice.weights) if choice.error is None else choice.error,
        error(nothing),
        None if held_out is None else error(choice.mask, held_out, choice.weights),
        None if held_out is None else error(nothing, held_out),
        seconds,
        choice.objective,
    )


def error_of(
    layer: Layer,
    mask: Kept,
    gram: Matrix | None = None,
    weights: Matrix | None = None,
    *,
    device: str = "cpu",
) -> float:
    """The error of a mask (d_out, d_in); `gram` replaces the layer's.

    weights: alike, what became of those that stay; None where they do not change. device: of torch.
    """
    if device != "cpu":
        change = np.where(mask, 0.0 if weights is None else layer.weight - weights, layer.weight)
        return _error_on(layer.gram if gram is None else gram, change, device)
    if weights is None:
        return fsum(Problem.of(layer, NOTHING_PRUNED).losses(mask, gram))
    matrix, exponent = layer.gram_unit if gram is None else (gram, 0)
    return fsum(change_errors(matrix, layer.weight - weights, exponent))


def _error_on(gram: Matrix, change: Matrix, device: str) -> float:
    """The sum over rows r of a change (d_out, d_in) of r G r^T, in float64 on a device."""
    import torch

    # Apple's GPUs have no float64
    where = torch.device("cpu" if device.startswith("mps") else device)
    rows, products = torch.from_numpy(change).to(where), torch.from_numpy(gram).to(where)
    return max(0.0, float(((rows @ products) * rows).sum()))


def ratio(part: float, whole: float) -> float:
    """Part / whole, 0 where both are 0."""
    return part / whole if whole > 0 else 0.0

"""The mask of a layer: found by a solver and certified, or read from a file; and what it costs.

    error(M) = || W X - (M * W) X ||_F^2 = sum over rows of r G r^T,    r = w * (1 - m)
    relative = error(M) / error(nothing kept) = error(M) / || W X ||_F^2

both in float64 from the layer and the mask. Where the weights that stay have been re-optimised to
x, r is w - x; the ridge that they were found with is no part of the error.
"""

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from math import fsum
from pathlib import Path
from typing import Protocol

import numpy as np

from maskgap.benchmarks.layers.found import Found
from maskgap.benchmarks.layers.solving import Runs
from maskgap.benchmarks.runs.environment import cores
from maskgap.benchmarks.runs.task import RunLimits
from maskgap.benchmarks.verify.certificate import Verdict
from maskgap.instances.arrays import Kept, Matrix, pruned_of
from maskgap.instances.change import change_errors
from maskgap.instances.errors import InputError, MaskgapError, Refused
from maskgap.instances.formats.files import mask_path, mask_tensors, write_mask
from maskgap.instances.formats.row_range import parse_rows
from maskgap.instances.formats.tensors import read_tensors
from maskgap.instances.layer import Layer, array_digest
from maskgap.instances.masks.patterns import parse_pattern
from maskgap.instances.models.globs import matches
from maskgap.instances.objective import MASK, ObjectiveSpec, objective_spec
from maskgap.instances.problem import Problem
from maskgap.solvers import registry
from maskgap.solvers.protocol import Stop

SUFFIX = ".mask.safetensors"

NOTHING_PRUNED = parse_pattern("0%")


class Unsolved(MaskgapError):  # noqa: N818 - it is an outcome of the runs, not a fault of ours
    """A row of a layer ended without a mask, or with a wrong claim."""


@dataclass(frozen=True, eq=False)
class Choice:
    """The mask (d_out, d_in) of a layer. rows: those that it was chosen for.

    objective: that it was chosen by. weights: (d_out, d_in) float64, what became of the weights
    that stay, 0 elsewhere; None where they do not change. error: of the mask, where its certificate
    has it already: the sum over rows of r G r^T.
    """

    mask: Kept
    pattern: str
    solver: str
    rows: range
    objective: ObjectiveSpec = MASK
    weights: Matrix | None = None
    error: float | None = None

    def write(self, folder: Path, layer: Layer) -> None:
        """Write the mask file of the layer. Raises InputError."""
        write_mask(
            mask_path(folder, layer.name),
            self.mask,
            layer,
            self.pattern,
            self.solver,
            rows=self.rows,
            objective=self.objective,
            weights=self.weights,
        )


class Masks(Protocol):
    """Where masks come from."""

    def pattern_of(self, name: str) -> str | None:
        """The pattern that the mask of a layer will meet; None where only its file says."""
        ...

    def asked(self) -> dict[str, object]:
        """What decides the masks beside the layers, of values that JSON has."""
        ...

    def has(self, name: str) -> bool:
        """Whether there will be a mask for a layer."""
        ...

    def of(self, layer: Layer) -> Choice:
        """The mask of a layer. Raises InputError, Refused, Unsolved."""
        ...


@dataclass(frozen=True, eq=False)
class Solved:
    """Masks by a solver, in processes of their own, certified. limits: for a row.

    objective: what they minimise; under refit they come with weights. patterns: globs over layers
    with patterns of their own, the first that matches counts; `pattern` is that of all others.
    """

    solver: str
    pattern: str
    settings: Mapping[str, object]
    limits: RunLimits = field(default_factory=lambda: RunLimits(threads=cores()))
    objective: ObjectiveSpec = MASK
    patterns: Sequence[tuple[str, str]] = ()

    def __post_init__(self) -> None:
        """Raise InputError or Refused for what cannot give masks here."""
        spec = registry.spec_of(self.solver)
        if spec.bound_only:
            raise InputError(f"solver '{self.solver}' gives bounds and no masks; choose another")
        if spec.missing is not None:
            raise Refused(f"solver '{self.solver}' is not installed: {spec.missing}")
        for text in (self.pattern, *(pattern for _, pattern in self.patterns)):
            refusal = spec.refusal(parse_pattern(text), self.objective)
            if refusal is not None:
                raise Refused(refusal)

    def pattern_of(self, name: str) -> str:
        """As `Masks`."""
        return next((p for glob, p in self.patterns if matches(name, glob)), self.pattern)

    def asked(self) -> dict[str, object]:
        """As `Masks`. Threads decide no mask, and where a run took place should not."""
        return {
            "solver": self.solver,
            "pattern": self.pattern,
            "patterns": [list(pair) for pair in self.patterns],
            "settings": dict(self.settings),
            "objective": str(self.objective.name),
            "ridge": self.objective.ridge if self.objective.refits else None,
            "time_limit": self.limits.limit_s,
            "seed": self.limits.seed,
        }

    def has(self, name: str) -> bool:
        """Every layer has a mask."""
        return True

    def of(self, layer: Layer) -> Choice:
        """The mask of all rows. Raises Unsolved naming the first row without one."""
        pattern = self.pattern_of(layer.name)
        problem = Problem.of(layer, parse_pattern(pattern), objective=self.objective)
        runs = Runs(problem, self.solver, dict(self.settings), self.limits)
        mask = Kept(np.ones(layer.weight.shape, dtype=bool))
        left = set(problem.rows)
        errors: list[float] = []
        for judged in runs:
            part, answer, certificate = judged.problem, judged.answer, judged.certificate
            reason = certificate.reason or str(answer.notes.get("reason", answer.stop))
            if answer.stop is Stop.REFUSED:
                raise Refused(f"{layer.name}: row {part.row}: {reason}")
            if answer.mask is None or certificate.objective is None:
                raise Unsolved(f"{layer.name}: row {part.row} has no mask: {reason}")
            if certificate.verdict is Verdict.WRONG:
                raise Unsolved(f"{layer.name}: row {part.row} is wrong: {reason}")
            mask[part.rows.start : part.rows.stop] = answer.mask.reshape(part.height, -1)
            left.difference_update(part.rows)
            errors.append(certificate.objective)
        if runs.interrupted:
            raise KeyboardInterrupt
        if left:
            raise Unsolved(f"{layer.name}: row {min(left)} has no mask")
        return Choice(
            mask,
            pattern,
            self.solver,
            range(layer.d_out),
            self.objective,
            Found(problem, mask).final_weights(),
            None if self.objective.refits else fsum(errors),
        )


@dataclass(frozen=True, eq=False)
class Stored:
    """Masks from the files `<layer>.mask.safetensors` of a folder."""

    folder: Path

    def __post_init__(self) -> None:
        """Raise InputError when the folder holds no mask file."""
        if not self.folder.is_dir():
            raise InputError(f"{self.folder}: expected a folder with files *.mask.safetensors")
        if not any(self.folder.glob(f"*{SUFFIX}")):
            raise InputError(f"{self.folder}: holds no mask file (*.mask.safetensors)")

    def pattern_of(self, name: str) -> None:
        """As `Masks`."""
        return

    def asked(self) -> dict[str, object]:
        """As `Masks`: the folder, and a digest of all its mask files."""
        digest = hashlib.sha256()
        for path in sorted(self.folder.glob(f"*{SUFFIX}")):
            digest.update(f"{path.name}:{hashlib.sha256(path.read_bytes()).hexdigest()}\n".encode())
        return {"masks": str(self.folder.resolve()), "mask files": digest.hexdigest()}

    def has(self, name: str) -> bool:
        """Whether the folder has the layer's file."""
        return mask_path(self.folder, name).exists()

    def of(self, layer: Layer) -> Choice:
        """The mask of a layer. Raises InputError for one of other weights, or against its pattern.

        The Gram that it was found with may be another: then only the weights' digest must agree.
        """
        path = mask_path(self.folder, layer.name)
        tensors, meta = read_tensors(path)
        kept, weights = mask_tensors(path, tensors, layer.weight.shape)
        same = meta.get("weight_digest") == array_digest(layer.weight)
        if not same and meta.get("digest") != layer.digest:
            raise InputError(
                f"{path}: this mask belongs to other weights than those of {layer.name}; "
                "find masks for this model"
            )
        text = meta.get("pattern", "none")
        rows = parse_rows(meta.get("rows", ":"), layer.d_out)
        try:
            Problem.of(layer, parse_pattern(text), rows, kept)
        except InputError as error:
            raise InputError(f"{path}: {error}") from None
        solver = meta.get("solver", "unknown")
        return Choice(kept, text, solver, rows, _objective_of(path, meta), weights)


def _objective_of(path: Path, meta: Mapping[str, str]) -> ObjectiveSpec:
    """The objective that a mask file names; that of masks where it names none."""
    try:
        ridge = meta.get("ridge")
        return objective_spec(
            meta.get("objective", str(MASK)), None if ridge is None else float(ridge)
        )
    except (InputError, ValueError) as error:
        raise InputError(f"{path}: metadata 'objective' or 'ridge': {error}") from None


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

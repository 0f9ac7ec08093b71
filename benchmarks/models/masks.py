"""The mask of a layer: found by a solver and certified, or read from a file.

What a mask costs is for `benchmarks.models.reports` to say.
"""

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from math import fsum
from pathlib import Path
from typing import Protocol

import numpy as np

from maskgap.benchmarks.layers.found import Found
from maskgap.benchmarks.layers.solving import Runs
from maskgap.benchmarks.runs.environment import cores
from maskgap.benchmarks.runs.task import RunLimits
from maskgap.benchmarks.verify.certificate import Verdict
from maskgap.instances.arrays import Kept, Matrix
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

    def globs(self) -> Sequence[str]:
        """Globs over layers that have patterns of their own; the first that matches counts."""
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
            refusal = registry.refusal(spec, parse_pattern(text), self.objective)
            if refusal is not None:
                raise Refused(refusal)

    def pattern_of(self, name: str) -> str:
        """As `Masks`."""
        return next((p for glob, p in self.patterns if matches(name, glob)), self.pattern)

    def globs(self) -> list[str]:
        """As `Masks`."""
        return [glob for glob, _ in self.patterns]

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

    def globs(self) -> tuple[str, ...]:
        """As `Masks`: none."""
        return ()

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

"""Proof files: what one proves, and of which question, read wholly before anything is computed.

One safetensors file, metadata `format = maskgap-proof/2`, all of them text:

    layer      sha256 of the layer's weight and Gram
    pattern    as it was asked for
    objective  `mask` or `refit`
    ridge      of refit alone: its ridge, a hexadecimal float
    rows       A:B, the rows asked for; the parts lie one after another in them, none left out
    parts      JSON, a head for each part in the order of its rows (`evidence.head`)
    digest     sha256 over everything else, so that a damaged file is told from a false one

The tensors of part t have names that begin with `part<t>`; those of the i-th row proof inside a
shared budget, with `part<t>.<i>`. A shift that parts share is the tensor `shift<s>`. Each kind of
proof has its own tensors, of one dtype and number of axes each; a file with others, or with one
that no head names, is malformed.

A reader takes nothing for granted, but knows no problem either: whether shapes, indices and numbers
fit the problem that a proof is checked against is for `benchmarks.verify`.
"""

import hashlib
import json
from collections.abc import Sequence
from dataclasses import dataclass
from math import isfinite
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from pydantic import ValidationError

from maskgap.instances.arrays import Kept
from maskgap.instances.errors import InputError, ProofError
from maskgap.instances.formats.evidence.head import HEADS, OF_KINDS, Head
from maskgap.instances.formats.evidence.kinds import KINDS
from maskgap.instances.formats.files import write_tensors
from maskgap.instances.formats.outputs import stored_kind
from maskgap.instances.formats.proof import Malformed, PartProof, Reading, Writing
from maskgap.instances.formats.tensors import Tensors, read_tensors
from maskgap.instances.layer import short
from maskgap.instances.objective import MASK, ObjectiveName, ObjectiveSpec
from maskgap.instances.problem import Problem

PROOF_FORMAT = "maskgap-proof/2"
PROOF = stored_kind("proof file", PROOF_FORMAT)

EARLIER_FORMAT = "maskgap-proof/1"


@dataclass(frozen=True, eq=False, repr=False)
class ProofFile:
    """What a file proves.

    layer: digest of the layer. pattern, objective: asked for. rows: those asked for, half-open.
    proofs: of the parts of these rows, in order.
    """

    layer: str
    pattern: str
    objective: ObjectiveSpec
    rows: range
    proofs: tuple[PartProof, ...]

    def __repr__(self) -> str:
        rows = f"rows {self.rows.start}:{self.rows.stop}"
        return f"ProofFile({len(self.proofs)} proofs, {rows}, {short(self.pattern)})"


def write_proof(path: Path, problem: Problem, proofs: Sequence[PartProof]) -> None:
    """Write the proofs of all parts of a problem, in the order of their rows. Raises InputError."""
    tensors: Tensors = {}
    shifts: dict[bytes, int] = {}
    heads = [_put(proof, f"part{t}", tensors, shifts) for t, proof in enumerate(proofs)]
    meta = {
        "format": PROOF_FORMAT,
        "layer": problem.layer.digest,
        "pattern": problem.pattern.text,
        **_objective_text(problem.objective),
        "rows": f"{problem.rows.start}:{problem.rows.stop}",
        "parts": HEADS.dump_json(heads, exclude_none=True).decode(),
    }
    write_tensors(path, tensors, {**meta, "digest": _digest(tensors, meta)})


def _put(
    proof: PartProof,
    key: str,
    tensors: Tensors,
    shifts: dict[bytes, int],
    budget: int | None = None,
) -> Head:
    """Add the tensors of a proof under names that begin with `key`; its head."""

    def nested(row: PartProof, own: str, pruned: int) -> Head:
        return _put(row, own, tensors, shifts, pruned)

    if proof.mask is not None:
        tensors[f"{key}.mask"] = proof.mask
    return Head(
        row=int(proof.row),
        height=int(proof.height),
        problem=proof.problem,
        kind=proof.evidence.kind,
        bound=float(proof.bound).hex(),
        passes=int(proof.passes),
        mask=proof.mask is not None,
        budget=None if budget is None else int(budget),
        **proof.evidence.write(Writing(key, tensors, shifts, nested)),
    )


def read_proof(path: Path) -> ProofFile:
    """Read a proof file. Raises ProofError when it is missing, damaged or of another format."""
    try:
        tensors, meta = read_tensors(path)
    except InputError as error:
        raise ProofError(str(error)) from None
    try:
        return _parse(tensors, meta)
    except ValidationError as error:
        first = error.errors(include_url=False, include_context=False, include_input=False)[0]
        place = ".".join(str(step) for step in first["loc"])
        raise ProofError(
            f"{path}: a head of the proof is malformed: {place}: {first['msg']}"
        ) from None
    except (Malformed, RecursionError) as error:
        raise ProofError(f"{path}: {error}") from None


def _parse(tensors: Tensors, meta: dict[str, str]) -> ProofFile:
    if meta.get("format") == EARLIER_FORMAT:
        raise Malformed(
            f"a proof of format {EARLIER_FORMAT}, which did not say what was asked; make it again"
        )
    if meta.get("format") != PROOF_FORMAT:
        raise Malformed(f"metadata 'format' is {meta.get('format')}, expected {PROOF_FORMAT}")
    wanted = {"format", "layer", "pattern", "objective", "rows", "parts", "digest"}
    if meta.get("objective") == ObjectiveName.REFIT:
        wanted.add("ridge")
    if set(meta) != wanted:
        odd = ", ".join(sorted(set(meta) ^ wanted))
        raise Malformed(f"its metadata lack or should not have: {odd}")
    stated = meta.pop("digest")
    if stated != _digest(tensors, meta):
        raise Malformed("its contents do not match its digest: the file was altered")
    held = _Held(tensors, set(tensors))
    heads = HEADS.validate_json(meta["parts"])
    proofs = tuple(_row(head, f"part{t}", held) for t, head in enumerate(heads))
    if held.unused:
        raise Malformed(f"no part names its tensor '{min(held.unused)}'")
    first, colon, last = meta["rows"].partition(":")
    if not (colon and _is_count(first) and _is_count(last) and int(first) < int(last)):
        raise Malformed(f"its rows are '{meta['rows'][:40]}', expected A:B with A < B")
    return ProofFile(
        meta["layer"], meta["pattern"], _objective_of(meta), range(int(first), int(last)), proofs
    )


def _objective_text(objective: ObjectiveSpec) -> dict[str, str]:
    """What the metadata say of an objective."""
    text = {"objective": str(objective.name)}
    return {**text, "ridge": objective.ridge.hex()} if objective.refits else text


def _objective_of(meta: dict[str, str]) -> ObjectiveSpec:
    """The objective that the metadata name."""
    name = meta["objective"]
    if name not in set(ObjectiveName):
        raise Malformed(f"it is about the objective '{name[:40]}', which is none of a proof")
    if name == ObjectiveName.MASK:
        return MASK
    ridge = _finite(meta["ridge"])
    # as it is written, so that one ridge has one text
    if ridge is None or not ridge >= 0.0 or ridge.hex() != meta["ridge"]:
        raise Malformed(f"its ridge is '{meta['ridge'][:40]}', not a hexadecimal number from 0")
    return ObjectiveSpec(ObjectiveName.REFIT, ridge)


def _is_count(text: str) -> bool:
    return text.isascii() and text.isdecimal() and len(text) < 10


@dataclass(frozen=True, slots=True)
class _Held:
    """The tensors of a file, and the names of those that nothing has taken."""

    tensors: Tensors
    unused: set[str]

    def take(self, name: str, dtype: Any, axes: int) -> NDArray[Any]:
        """As `Reading.take`."""
        array = self.tensors.get(name)
        if array is None or array.dtype != dtype or array.ndim != axes:
            found = "none" if array is None else f"{array.dtype} of shape {array.shape}"
            raise Malformed(
                f"tensor '{name}' must be {np.dtype(dtype)} with {axes} axes, found {found}"
            )
        self.unused.discard(name)
        return array


def _row(head: Head, key: str, held: _Held, nested: bool = False) -> PartProof:
    """A proof from its head and tensors; what its kind does not have must be absent."""
    kind = KINDS.get(head.kind)
    if kind is None:
        raise Malformed(f"{key} is of kind '{head.kind[:40]}', which is none of a proof")
    having = {**{name: name in kind.fields for name in OF_KINDS}, "budget": nested}
    for name, due in having.items():
        if (getattr(head, name) is not None) != due:
            must = "must" if due else "must not"
            raise Malformed(f"{key} is of kind '{head.kind}' and {must} have '{name}'")

    def row(own: Head, place: str) -> PartProof:
        return _row(own, place, held, nested=True)

    return PartProof(
        row=head.row,
        problem=head.problem,
        bound=_hexadecimal(head.bound, key),
        mask=Kept(held.take(f"{key}.mask", np.bool_, 1)) if head.mask else None,
        evidence=kind.read(Reading(head, key, held.take, row, held.tensors)),
        passes=head.passes,
        height=head.height,
    )


def _hexadecimal(text: str, key: str) -> float:
    value = _finite(text)
    if value is None:
        raise Malformed(f"{key} states the bound '{text}', which is not a finite number")
    return value


def _finite(text: str) -> float | None:
    """The number of a hexadecimal text, None where it is none or not finite."""
    try:
        value = float.fromhex(text)
    except (ValueError, OverflowError):
        return None
    return value if isfinite(value) else None


def _digest(tensors: Tensors, meta: dict[str, str]) -> str:
    digest = hashlib.sha256(json.dumps(meta, sort_keys=True).encode())
    for name in sorted(tensors):
        array = np.ascontiguousarray(tensors[name])
        digest.update(f"{name}:{array.dtype.str}:{array.shape}".encode())
        digest.update(array.data)
    return digest.hexdigest()

"""Proof files: what one proves, and of which question, read wholly before anything is computed.

One safetensors file, metadata `format = maskgap-proof/2`, all of them text:

    layer      sha256 of the layer's weight and Gram
    pattern    as it was asked for
    objective  `mask`
    rows       A:B, the rows asked for; the parts lie one after another in them, none left out
    parts      JSON, a head for each part in the order of its rows (`_Head`)
    digest     sha256 over everything else, so that a damaged file is told from a false one

The tensors of part t have names that begin with `part<t>`; those of the i-th row proof inside a
shared budget, with `part<t>.<i>`. A shift that parts share is the tensor `shift<s>`. Each kind of
proof has its own tensors, of one dtype and number of axes each; a file with others, or with one
that no head names, is malformed.

A reader takes nothing for granted, but knows no problem either: whether shapes, indices and numbers
fit the problem that a proof is checked against is for `benchmarks.verify.form`.
"""

import hashlib
import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from math import isfinite
from pathlib import Path
from typing import Annotated, Any

import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict, Field, TypeAdapter, ValidationError

from maskgap.instances.arrays import Kept
from maskgap.instances.errors import InputError, ProofError
from maskgap.instances.formats.files import write_tensors
from maskgap.instances.formats.outputs import stored_kind
from maskgap.instances.formats.proof import (
    OBJECTIVE,
    ConvexFunction,
    Leaves,
    PartProof,
    ProofKind,
    SharedShift,
)
from maskgap.instances.formats.tensors import Tensors, read_tensors
from maskgap.instances.formats.triangles import Triangles
from maskgap.instances.layer import short
from maskgap.instances.problem import Problem

PROOF_FORMAT = "maskgap-proof/2"
PROOF = stored_kind("proof file", PROOF_FORMAT)

EARLIER_FORMAT = "maskgap-proof/1"

LARGEST_NUMBER = 2**31 - 1
"""Beyond any row, height or budget."""

MOST_PASSES = 10**6

Count = Annotated[int, Field(ge=0, le=LARGEST_NUMBER)]
Digest = Annotated[str, Field(pattern="^[0-9a-f]{64}$")]


@dataclass(frozen=True, eq=False, repr=False)
class ProofFile:
    """What a file proves.

    layer: digest of the layer. pattern, objective: as asked for. rows: those asked for, half-open.
    proofs: of the parts of these rows, in order.
    """

    layer: str
    pattern: str
    objective: str
    rows: range
    proofs: tuple[PartProof, ...]

    def __repr__(self) -> str:
        rows = f"rows {self.rows.start}:{self.rows.stop}"
        return f"ProofFile({len(self.proofs)} proofs, {rows}, {short(self.pattern)})"


class _Head(BaseModel):
    """What a part says of itself. bound: hexadecimal, so that no digit is lost."""

    model_config = ConfigDict(strict=True, extra="forbid", frozen=True)

    row: Count
    height: Annotated[int, Field(ge=1, le=LARGEST_NUMBER)]
    problem: Digest
    kind: str
    bound: Annotated[str, Field(max_length=64)]
    passes: Annotated[int, Field(ge=0, le=MOST_PASSES)] = 0
    mask: bool
    functions: Annotated[int, Field(ge=0, le=2**15)] | None = None
    shift: Count | None = None
    budget: Count | None = None
    rows: list["_Head"] | None = None


_HEADS = TypeAdapter(list[_Head])

_FUNCTION: tuple[tuple[str, Any, int], ...] = (
    ("u", np.float64, 1),
    ("alpha", np.float64, 2),
    ("triangles", np.int32, 2),
    ("apex", np.int16, 1),
    ("weight", np.float64, 1),
)
"""Tensors of a function: name, dtype, axes."""

_TREE: tuple[tuple[str, Any, int], ...] = (
    ("branch", np.int32, 1),
    ("function", np.int16, 1),
    ("point", np.int32, 1),
    ("points", np.float32, 2),
)
"""Tensors of a tree of leaves."""


def write_proof(path: Path, problem: Problem, proofs: Sequence[PartProof]) -> None:
    """Write the proofs of all parts of a problem, in the order of their rows. Raises InputError."""
    tensors: Tensors = {}
    shifts: dict[bytes, int] = {}
    heads = [_put(proof, f"part{t}", tensors, shifts) for t, proof in enumerate(proofs)]
    meta = {
        "format": PROOF_FORMAT,
        "layer": problem.layer.digest,
        "pattern": problem.pattern.text,
        "objective": OBJECTIVE,
        "rows": f"{problem.rows.start}:{problem.rows.stop}",
        "parts": _HEADS.dump_json(heads, exclude_none=True).decode(),
    }
    write_tensors(path, tensors, {**meta, "digest": _digest(tensors, meta)})


def _put(proof: PartProof, key: str, tensors: Tensors, shifts: dict[bytes, int]) -> _Head:
    """Add the tensors of a proof under names that begin with `key`; its head."""
    shift = None
    if proof.mask is not None:
        tensors[f"{key}.mask"] = proof.mask
    if proof.shared is not None:
        shift = shifts.setdefault(proof.shared.shift.tobytes(), len(shifts))
        tensors[f"shift{shift}"] = proof.shared.shift
        tensors[f"{key}.at"] = proof.shared.point
    if proof.leaves is not None:
        for i, function in enumerate(proof.leaves.functions):
            triangles = function.triangles
            own = function.u, function.alpha, triangles.columns, triangles.apex, triangles.weight
            for (name, _, _), array in zip(_FUNCTION, own, strict=True):
                tensors[f"{key}.{name}{i}"] = np.asarray(array)
        tree = proof.leaves
        for (name, _, _), array in zip(
            _TREE, (tree.branch, tree.function, tree.point, tree.points), strict=True
        ):
            tensors[f"{key}.{name}"] = np.asarray(array)
    rows = [_put(row, f"{key}.{i}", tensors, shifts) for i, row in enumerate(proof.rows)]
    return _Head(
        row=int(proof.row),
        height=int(proof.height),
        problem=proof.problem,
        kind=str(proof.kind),
        bound=float(proof.bound).hex(),
        passes=int(proof.passes),
        mask=proof.mask is not None,
        functions=None if proof.leaves is None else len(proof.leaves.functions),
        shift=shift,
        budget=None if proof.budget is None else int(proof.budget),
        rows=rows if proof.kind is ProofKind.SHARED_BUDGET else None,
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
    except (_Malformed, RecursionError) as error:
        raise ProofError(f"{path}: {error}") from None


class _Malformed(Exception):  # noqa: N818 - becomes a ProofError with the file's name
    """What is wrong with a file."""


def _parse(tensors: Tensors, meta: dict[str, str]) -> ProofFile:
    if meta.get("format") == EARLIER_FORMAT:
        raise _Malformed(
            f"a proof of format {EARLIER_FORMAT}, which did not say what was asked; make it again"
        )
    if meta.get("format") != PROOF_FORMAT:
        raise _Malformed(f"metadata 'format' is {meta.get('format')}, expected {PROOF_FORMAT}")
    wanted = {"format", "layer", "pattern", "objective", "rows", "parts", "digest"}
    if set(meta) != wanted:
        odd = ", ".join(sorted(set(meta) ^ wanted))
        raise _Malformed(f"its metadata lack or should not have: {odd}")
    stated = meta.pop("digest")
    if stated != _digest(tensors, meta):
        raise _Malformed("its contents do not match its digest: the file was altered")
    unused = set(tensors)

    def take(name: str, dtype: Any, axes: int) -> NDArray[Any]:
        array = tensors.get(name)
        if array is None or array.dtype != dtype or array.ndim != axes:
            found = "none" if array is None else f"{array.dtype} of shape {array.shape}"
            raise _Malformed(
                f"tensor '{name}' must be {np.dtype(dtype)} with {axes} axes, found {found}"
            )
        unused.discard(name)
        return array

    heads = _HEADS.validate_json(meta["parts"])
    proofs = tuple(_row(head, f"part{t}", take) for t, head in enumerate(heads))
    if unused:
        raise _Malformed(f"no part names its tensor '{min(unused)}'")
    first, colon, last = meta["rows"].partition(":")
    if not (colon and _is_count(first) and _is_count(last) and int(first) < int(last)):
        raise _Malformed(f"its rows are '{meta['rows'][:40]}', expected A:B with A < B")
    return ProofFile(
        meta["layer"], meta["pattern"], meta["objective"], range(int(first), int(last)), proofs
    )


def _is_count(text: str) -> bool:
    return text.isascii() and text.isdecimal() and len(text) < 10


Take = Callable[[str, Any, int], NDArray[Any]]


def _row(head: _Head, key: str, take: Take, nested: bool = False) -> PartProof:
    """A proof from its head and tensors; what its kind does not have must be absent."""
    if head.kind not in set(ProofKind):
        raise _Malformed(f"{key} is of kind '{head.kind[:40]}', which is none of a proof")
    kind = ProofKind(head.kind)
    having = {
        "functions": kind is ProofKind.LEAVES,
        "shift": kind is ProofKind.SHIFT,
        "rows": kind is ProofKind.SHARED_BUDGET,
        "budget": nested,
    }
    for name, due in having.items():
        if (getattr(head, name) is not None) != due:
            must = "must" if due else "must not"
            raise _Malformed(f"{key} is of kind '{kind}' and {must} have '{name}'")
    if nested and kind is ProofKind.SHARED_BUDGET:
        raise _Malformed(f"{key} is a shared budget inside a shared budget")
    leaves, shared = None, None
    if kind is ProofKind.SHIFT:
        # rows that share a shift share the array, by which what was checked of it is remembered
        shift = take(f"shift{head.shift}", np.float64, 1)
        shared = SharedShift(shift, take(f"{key}.at", np.float32, 1))
    if kind is ProofKind.LEAVES:
        functions = []
        for i in range(head.functions or 0):
            u, alpha, columns, apex, weight = (
                take(f"{key}.{name}{i}", dtype, axes) for name, dtype, axes in _FUNCTION
            )
            functions.append(ConvexFunction(u, alpha, Triangles(columns, apex, weight)))
        branch, function, point, points = (
            take(f"{key}.{name}", dtype, axes) for name, dtype, axes in _TREE
        )
        leaves = Leaves(tuple(functions), branch, function, point, points)
    return PartProof(
        row=head.row,
        problem=head.problem,
        bound=_hexadecimal(head.bound, key),
        mask=Kept(take(f"{key}.mask", np.bool_, 1)) if head.mask else None,
        kind=kind,
        leaves=leaves,
        shared=shared,
        passes=head.passes,
        height=head.height,
        rows=tuple(
            _row(own, f"{key}.{i}", take, nested=True) for i, own in enumerate(head.rows or [])
        ),
        budget=head.budget,
    )


def _hexadecimal(text: str, key: str) -> float:
    try:
        value = float.fromhex(text)
    except (ValueError, OverflowError):
        value = float("nan")
    if not isfinite(value):
        raise _Malformed(f"{key} states the bound '{text}', which is not a finite number")
    return value


def _digest(tensors: Tensors, meta: dict[str, str]) -> str:
    digest = hashlib.sha256(json.dumps(meta, sort_keys=True).encode())
    for name in sorted(tensors):
        array = np.ascontiguousarray(tensors[name])
        digest.update(f"{name}:{array.dtype.str}:{array.shape}".encode())
        digest.update(array.data)
    return digest.hexdigest()

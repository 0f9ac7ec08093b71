"""The format of a proof that no legal mask of a row beats a stated bound.

Nothing here finds or checks one.

Convex function. Every legal z meets equality rows a_g . z = k_g with whole numbers a_g, k_g: those
of its set of masks, then one z_j = 0 or 1 for each column that the set forces (`equality_rows`);
the rows of equal budget groups are their indicators. For a diagonal u and one multiplier vector
alpha_g per equality row, on every legal binary z the scaled loss z^T Q z equals

    F(z) = z^T P z + q^T z,   P = Q - Diag(u) + sum_g (alpha_g a_g^T + a_g alpha_g^T) / 2,
                              q = u - sum_g k_g alpha_g.

A function may also carry triangle inequalities with weights (`instances.triangles`), taken off F:
it then is at most the loss on legal binaries, and has a constant term.

Leaves. The legal set is split by a binary tree, stored in preorder: `branch[t]` is the column split
at node t (first child: kept, second child: pruned) or -1 at a leaf. A leaf names one point x, which
leaves may share, and a function; when that F is convex, its bound is the least value of the
linearisation

    F(x) + min over legal v of the leaf of grad F(x) . (v - x).

A leaf that has one mask left needs neither: its function is -1 and its loss is the bound; in sets
other than equal groups, all of its columns are forced then. The bound proved is the least over the
leaves. An enumeration proof has no tree: the checker lists all legal masks itself, which it does
for rows of few masks.

Shared shift. Rows w of one layer may share a vector d with G - Diag(d) positive semidefinite, for
the layer's Gram G. A row's function is then that of u = w^2 d, alpha = 0, its only leaf the root,
and all it stores of its own is a point; the semidefinite check is one for all rows.

Shared budget. Where rows share one budget, proofs of single rows, each under a budget of its own,
bound the whole by a multiplier (`benchmarks.budget_curve`); their points beyond the leaf's are for
other budgets of the row.

On disk: one safetensors file, metadata `format = maskgap-proof/1`, and a sha256 over everything in
it, so that a damaged file is told from a false one.
"""

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from instances.errors import InputError, ProofError
from instances.files import read_tensors, write_tensors
from instances.groups import Mask, Matrix, Vector
from instances.outputs import stored_kind
from instances.sets.protocol import MaskSet
from instances.sets.rows import FREE, PRUNED
from instances.triangles import Triangles, no_triangles

PROOF_FORMAT = "maskgap-proof/1"
PROOF = stored_kind("proof file", PROOF_FORMAT)


class ProofKind(StrEnum):
    """How the bound is to be derived again."""

    ENUMERATION = "enumeration"
    LEAVES = "leaves"
    SHIFT = "shift"
    SHARED_BUDGET = "shared-budget"


@dataclass(frozen=True, eq=False)
class ConvexFunction:
    """Multipliers of one function.

    u: (n,) float64; alpha: (equality rows, n) float64; triangles.
    """

    u: Vector
    alpha: Matrix
    triangles: Triangles = field(default_factory=no_triangles)


@dataclass(frozen=True, eq=False)
class Leaves:
    """A tree in preorder and its leaves in the same order.

    branch: (nodes,) int32. function: (leaves,) int16, -1 where one mask is left. point: (leaves,)
    int32, the row of `points` (any number, n) float32 that the leaf uses, -1 where function is.
    """

    functions: tuple[ConvexFunction, ...]
    branch: NDArray[np.int32]
    function: NDArray[np.int16]
    point: NDArray[np.int32]
    points: NDArray[np.float32]


@dataclass(frozen=True, eq=False)
class SharedShift:
    """shift: d (n,) float64 in units of the layer's Gram. point: (n,) float32, the row's own.

    A shift that rows share is written once.
    """

    shift: Vector
    point: NDArray[np.float32]


@dataclass(frozen=True, eq=False)
class RowProof:
    """A proof for one row.

    row: its number in the layer, the first of a part of `height` rows. problem: digest of the
    RowProblem. bound: the stated lower bound, in units of the layer's loss. mask: the incumbent
    (n,), True = kept, or None. leaves, shared, rows: None or empty but for a proof of kind LEAVES,
    SHIFT, SHARED_BUDGET. budget: of one of such rows, the columns pruned in the problem that it is
    for; else None. passes: of the work on a whole layer, how many this row has had, so that it can
    be gone on with; nothing is proved by it.
    """

    row: int
    problem: str
    bound: float
    mask: Mask | None
    kind: ProofKind
    leaves: Leaves | None = None
    passes: int = 0
    shared: SharedShift | None = None
    height: int = 1
    rows: tuple["RowProof", ...] = ()
    budget: int | None = None


def equality_rows(legal: MaskSet) -> tuple[Matrix, Vector]:
    """(E (m, n), k (m,)) float64 of whole numbers with E z = k on every legal mask, in fixed order.

    The equality rows of the set, then one row for each column that it forces.
    """
    rows = legal.linear_rows()
    matrix, budget = rows.equalities()
    forced = np.flatnonzero(rows.state != FREE)
    units = np.zeros((len(forced), legal.n))
    units[np.arange(len(forced)), forced] = 1.0
    values = (rows.state[forced] == PRUNED).astype(np.float64)
    return np.concatenate([matrix, units]), np.concatenate([budget, values])


def root_leaves(function: ConvexFunction, point: Vector, beside: Matrix | None = None) -> Leaves:
    """The tree of one leaf: the bound of a relaxation without branching.

    beside: further points (any number, n), for budgets beside the row's own; the leaf uses none.
    """
    points = point[None, :] if beside is None else np.concatenate([point[None, :], beside])
    return Leaves(
        functions=(function,),
        branch=np.array([-1], dtype=np.int32),
        function=np.array([0], dtype=np.int16),
        point=np.array([0], dtype=np.int32),
        points=np.clip(points, 0.0, 1.0).astype(np.float32),
    )


def write_proof(path: Path, rows: Sequence[RowProof]) -> None:
    """Write the proofs of one or more rows into one self-contained file."""
    tensors: dict[str, NDArray[np.generic]] = {}
    shifts: dict[bytes, int] = {}
    heads = [_put(proof, f"row{proof.row}", tensors, shifts) for proof in rows]
    meta = {"format": PROOF_FORMAT, "rows": json.dumps(heads)}
    write_tensors(path, tensors, {**meta, "digest": _digest(tensors, meta)})


def _put(
    proof: RowProof,
    key: str,
    tensors: dict[str, NDArray[np.generic]],
    shifts: dict[bytes, int],
) -> dict[str, object]:
    """Add the tensors of a proof under names that begin with `key`; its head."""
    head: dict[str, object] = {
        "row": proof.row,
        "problem": proof.problem,
        "bound": proof.bound.hex(),
        "kind": str(proof.kind),
        "passes": proof.passes,
        "height": proof.height,
    }
    if proof.budget is not None:
        head["budget"] = proof.budget
    if proof.mask is not None:
        tensors[f"{key}.mask"] = proof.mask
    if proof.shared is not None:
        number = shifts.setdefault(proof.shared.shift.tobytes(), len(shifts))
        head["shift"] = number
        tensors[f"shift{number}"] = proof.shared.shift
        tensors[f"{key}.at"] = proof.shared.point
    if proof.leaves is not None:
        head["functions"] = len(proof.leaves.functions)
        for i, function in enumerate(proof.leaves.functions):
            tensors[f"{key}.u{i}"] = function.u
            tensors[f"{key}.alpha{i}"] = function.alpha
            tensors[f"{key}.triangles{i}"] = function.triangles.columns
            tensors[f"{key}.apex{i}"] = function.triangles.apex
            tensors[f"{key}.weight{i}"] = function.triangles.weight
        tensors[f"{key}.branch"] = proof.leaves.branch
        tensors[f"{key}.function"] = proof.leaves.function
        tensors[f"{key}.point"] = proof.leaves.point
        tensors[f"{key}.points"] = proof.leaves.points
    if proof.rows:
        head["rows"] = [
            _put(row, f"{key}.{i}", tensors, shifts) for i, row in enumerate(proof.rows)
        ]
    return head


def read_proof(path: Path) -> list[RowProof]:
    """Read a proof file. Raises ProofError when it is missing, damaged or of another format."""
    try:
        tensors, meta = read_tensors(path)
    except InputError as error:
        raise ProofError(str(error)) from None
    stated = meta.pop("digest", "")
    if meta.get("format") != PROOF_FORMAT:
        raise ProofError(f"{path}: metadata 'format' is not {PROOF_FORMAT}")
    if stated != _digest(tensors, meta):
        raise ProofError(f"{path}: its contents do not match its digest: the file was altered")
    try:
        heads = json.loads(meta["rows"])
        return [_row(head, f"row{int(str(head['row']))}", tensors) for head in heads]
    except (KeyError, ValueError, TypeError) as error:
        raise ProofError(f"{path}: a part of the proof is missing or malformed ({error})") from None


def _row(
    head: Mapping[str, object], key: str, tensors: Mapping[str, NDArray[np.generic]]
) -> RowProof:
    row = int(str(head["row"]))
    kind = ProofKind(str(head["kind"]))
    leaves, shared = None, None
    if kind is ProofKind.SHIFT:
        point = tensors[f"{key}.at"].astype(np.float32)
        # rows that share a shift share the array, by which what was checked of it is remembered
        shift = np.asarray(tensors[f"shift{int(str(head['shift']))}"], dtype=np.float64)
        shared = SharedShift(shift, point)
    if kind is ProofKind.LEAVES:
        functions = tuple(
            ConvexFunction(
                tensors[f"{key}.u{i}"].astype(np.float64),
                tensors[f"{key}.alpha{i}"].astype(np.float64),
                Triangles(
                    tensors[f"{key}.triangles{i}"].astype(np.int32),
                    tensors[f"{key}.apex{i}"].astype(np.int16),
                    tensors[f"{key}.weight{i}"].astype(np.float64),
                ),
            )
            for i in range(int(str(head["functions"])))
        )
        leaves = Leaves(
            functions,
            tensors[f"{key}.branch"].astype(np.int32),
            tensors[f"{key}.function"].astype(np.int16),
            tensors[f"{key}.point"].astype(np.int32),
            tensors[f"{key}.points"].astype(np.float32),
        )
    mask = tensors.get(f"{key}.mask")
    return RowProof(
        row=row,
        problem=str(head["problem"]),
        bound=float.fromhex(str(head["bound"])),
        mask=None if mask is None else mask.astype(np.bool_),
        kind=kind,
        leaves=leaves,
        shared=shared,
        passes=int(str(head.get("passes", 0))),
        height=int(str(head.get("height", 1))),
        rows=tuple(_row(own, f"{key}.{i}", tensors) for i, own in enumerate(_heads(head))),
        budget=None if head.get("budget") is None else int(str(head["budget"])),
    )


def _heads(head: Mapping[str, object]) -> list[Mapping[str, object]]:
    """The heads of the rows that a proof rests on. Raises TypeError for anything else."""
    found = head.get("rows", [])
    if not isinstance(found, list) or not all(isinstance(own, dict) for own in found):
        raise TypeError("rows of a shared budget")
    return found


def _digest(tensors: Mapping[str, NDArray[np.generic]], meta: Mapping[str, str]) -> str:
    digest = hashlib.sha256(json.dumps(meta, sort_keys=True).encode())
    for name in sorted(tensors):
        array = np.ascontiguousarray(tensors[name])
        digest.update(f"{name}:{array.dtype.str}:{array.shape}".encode())
        digest.update(array.data)
    return digest.hexdigest()

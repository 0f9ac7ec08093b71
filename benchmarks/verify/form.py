"""Whether a proof has the form that its problem asks for: read before anything is computed from it.

A proof comes from a file or from any solver, so nothing is taken for granted: types, dtypes,
shapes, ranges and indices, of the row proofs inside a shared budget by the same rules. Here is what
all proofs have; what each kind of evidence has is seen beside its checker (`verify.kinds`). What
passes holds finite numbers of size at most `LARGEST_MULTIPLIER`, so that with entries of Q of size
at most 2^`OFF_DIAGONAL` no sum of products of them leaves float64.
"""

from collections.abc import Iterator
from math import isfinite
from typing import Any

import numpy as np

from maskgap.instances.arrays import Kept
from maskgap.instances.formats.proof import Evidence, PartProof
from maskgap.instances.masks.groups import BudgetGroups
from maskgap.instances.problem import Part

LARGEST_MULTIPLIER = 1e30
"""Multipliers and points beyond this are refused: products of them could overflow."""


def row_under(part: Part, row: int, budget: int) -> Part:
    """A row of a part whose rows share a budget, as a problem with a budget of its own."""
    n = part.layer.d_in
    legal = BudgetGroups(n, n, budget)
    return Part(part.layer, row, f"keep={n - budget}", legal, objective=part.objective)


def proof_faults(problem: Part, proof: PartProof) -> Iterator[str]:
    """What is wrong with a proof but for its evidence; later faults may rest on earlier ones."""
    if not isinstance(proof, PartProof):
        yield f"the proof is no proof but a {type(proof).__name__}"
    if (proof.row, proof.height, proof.problem) != (problem.row, problem.height, problem.digest):
        yield (
            f"the proof belongs to another problem than row {problem.row} of "
            f"{problem.layer.name} under '{problem.pattern}'"
        )
    if not isinstance(proof.bound, float) or not isfinite(proof.bound):
        yield f"the stated bound is {proof.bound!r:.40}, not a finite number"
    if not isinstance(proof.passes, int) or proof.passes < 0:
        yield f"it is said to have had {proof.passes!r:.40} passes"
    if proof.mask is not None and not has_mask(problem, proof):
        yield f"its mask does not meet '{problem.pattern}'"
    if not isinstance(proof.evidence, Evidence):
        yield f"it is of kind {type(proof.evidence).__name__!r:.40}, which is none of a proof"


def has_mask(problem: Part, proof: PartProof) -> bool:
    """Whether a proof has a legal mask (n,) of a problem."""
    mask = proof.mask
    return (
        isinstance(mask, np.ndarray)
        and mask.dtype == np.bool_
        and mask.shape == (problem.n,)
        and problem.legal.is_legal(Kept(mask))
    )


def array_fault(array: Any, dtype: Any, shape: tuple[int | None, ...]) -> str:
    """How an array differs from its dtype and shape (None: any size), or nothing."""
    if (
        isinstance(array, np.ndarray)
        and array.dtype == dtype
        and array.ndim == len(shape)
        and all(want in (None, size) for size, want in zip(array.shape, shape, strict=True))
    ):
        return ""
    found = f"{getattr(array, 'dtype', type(array).__name__)} {getattr(array, 'shape', '')}"
    wide = ", ".join("any" if size is None else str(size) for size in shape)
    return f"expected {np.dtype(dtype)} of shape ({wide}), found {found}"


def number_fault(array: Any) -> str:
    """Whether numbers are too large or none at all; comparisons with NaN are false."""
    if array.size == 0 or (
        float(array.max()) <= LARGEST_MULTIPLIER and float(array.min()) >= -LARGEST_MULTIPLIER
    ):
        return ""
    return f"expected finite numbers of size at most {LARGEST_MULTIPLIER:g}"

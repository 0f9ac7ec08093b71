"""Bounds by listing every legal mask, in the checker's own count of what must be there.

Equal groups: the masks that the set lists are legal, distinct, and as many as there are in all.
Other sets: every 0/1 vector of the free columns is looked at, so none can be missing.
"""

import numpy as np
from numpy.typing import NDArray

from maskgap.benchmarks.verify.clock import Clock
from maskgap.benchmarks.verify.quadratic import losses
from maskgap.instances.arrays import Mask, Matrix
from maskgap.instances.errors import InputError, ProofError
from maskgap.instances.masks.groups import ENUMERATION_COLUMNS, BudgetGroups
from maskgap.instances.masks.rows import LinearRows
from maskgap.instances.masks.state import FREE, PRUNED
from maskgap.instances.problem import Part

ENUMERATED = 5_000_000
"""Most legal masks that an enumeration proof may ask the checker to list."""

LOOKED_AT = 1 << 16
"""0/1 vectors looked at at once."""


def least_loss(problem: Part, quad: Matrix, clock: Clock) -> tuple[float, int]:
    """A lower bound on the least loss of all legal masks, in scaled units, and their number."""
    groups = problem.legal
    if not isinstance(groups, BudgetGroups):
        return _look_at_all(problem, groups.linear_rows(), quad, clock)
    if groups.masks > ENUMERATED:
        raise ProofError(f"row {problem.row}: an enumeration of more than {ENUMERATED} masks")
    least, seen = np.inf, list[NDArray[np.uint64]]()
    try:
        for pruned in groups.enumerate_pruned():
            clock.look(f"row {problem.row}: {len(seen)} blocks of {groups.masks} masks are")
            if not groups.is_legal(~pruned):
                raise ProofError(f"row {problem.row}: an illegal mask was listed")
            least = min(least, float(losses(quad, pruned).min()))
            seen.append(_words(pruned))
    except InputError as error:
        raise ProofError(f"row {problem.row}: {error}") from None
    words = np.concatenate(seen)
    distinct = len(np.unique(words[:, 0] if words.shape[1] == 1 else words, axis=0))
    if not len(words) == distinct == groups.masks:
        raise ProofError(f"row {problem.row}: {distinct} of {groups.masks} legal masks were listed")
    return least, distinct


def _look_at_all(problem: Part, rows: LinearRows, quad: Matrix, clock: Clock) -> tuple[float, int]:
    free = np.flatnonzero(rows.state == FREE)
    if len(free) > ENUMERATION_COLUMNS:
        raise ProofError(
            f"row {problem.row}: an enumeration over {len(free)} free columns is more than "
            f"{ENUMERATION_COLUMNS}"
        )
    matrix = rows.matrix.T.astype(np.float64)
    least, seen = np.inf, 0
    for start in range(0, 1 << len(free), LOOKED_AT):
        clock.look(f"row {problem.row}: {start} of {1 << len(free)} vectors are")
        codes = np.arange(start, min(start + LOOKED_AT, 1 << len(free)), dtype=np.int64)
        pruned = np.tile(rows.state == PRUNED, (len(codes), 1))
        pruned[:, free] = (codes[:, None] >> np.arange(len(free), dtype=np.int64)) & 1
        sums = pruned @ matrix  # whole numbers: exact
        chosen = pruned[((rows.lower <= sums) & (sums <= rows.upper)).all(axis=1)]
        if len(chosen):
            least = min(least, float(losses(quad, chosen).min()))
            seen += len(chosen)
    if not seen:
        raise ProofError(f"row {problem.row}: no mask meets '{problem.pattern}'")
    return least, seen


def _words(pruned: Mask) -> NDArray[np.uint64]:
    packed = np.packbits(pruned, axis=1)
    padded = np.zeros((len(packed), -(-packed.shape[1] // 8) * 8), dtype=np.uint8)
    padded[:, : packed.shape[1]] = packed
    return padded.view(np.uint64)

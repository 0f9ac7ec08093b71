"""Bounds by listing every legal mask, in the checker's own count of what must be there."""

import numpy as np

from maskgap.benchmarks.verify.checked_set import CheckedSet
from maskgap.benchmarks.verify.clock import Clock
from maskgap.benchmarks.verify.quadratic import losses
from maskgap.instances.arrays import Matrix
from maskgap.instances.errors import ProofError
from maskgap.instances.problem import Part


def least_loss(part: Part, own: CheckedSet, quad: Matrix, clock: Clock) -> tuple[float, int]:
    """A lower bound on the least loss of all legal masks, in scaled units, and their number.

    own: the masks of the part. quad: its Q. Raises ProofError.
    """
    least, seen = np.inf, 0
    for pruned in own.every_mask(clock):
        least = min(least, float(losses(quad, pruned).min()))
        seen += len(pruned)
    if not seen:
        raise ProofError(f"row {part.row}: no mask meets '{part.pattern}'")
    return least, seen

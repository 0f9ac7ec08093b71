"""Bounds by listing every legal mask, in the checker's own count of what must be there."""

import numpy as np

from maskgap.benchmarks.verify.clock import Clock
from maskgap.benchmarks.verify.quadratic import least_rescaled, losses, scaled_quad
from maskgap.benchmarks.verify.sets import checked_set
from maskgap.instances.errors import ProofError
from maskgap.instances.formats.evidence.enumeration import Enumeration
from maskgap.instances.problem import Part


def enumeration_bound(part: Part, _: Enumeration, clock: Clock) -> tuple[float, int]:
    """A lower bound on the least loss of all legal masks, in the layer's units, and their number.

    Raises ProofError.
    """
    quad = scaled_quad(part)
    least, seen = np.inf, 0
    for pruned in checked_set(part).every_mask(clock):
        least = min(least, float(losses(quad, pruned).min()))
        seen += len(pruned)
    if not seen:
        raise ProofError(f"row {part.row}: no mask meets '{part.pattern}'")
    return least_rescaled(part, least), seen

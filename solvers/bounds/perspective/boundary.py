"""How far a step may go so that what is positive stays so, in compiled code."""

from maskgap.solvers.bounds.perspective.dense import cholesky
from maskgap.solvers.kernels.jit import unchecked

TO_BOUNDARY = 0.9
"""Share of the way to the boundary that a step may go."""

SHORTENED = 0.8
"""By this a step is made shorter until a matrix stays definite."""

ATTEMPTS = 60


@unchecked
def reach(matrix, change, sign, share, shifted, lower):  # type: ignore[no-untyped-def]
    """The part of a step that a definite matrix goes by `change` and stays so; work space last."""
    m = len(matrix)
    for _ in range(ATTEMPTS):
        factor = sign * share / TO_BOUNDARY
        for i in range(m):
            for j in range(i + 1):
                shifted[i, j] = matrix[i, j] + factor * change[i, j]
        if cholesky(shifted, lower):
            return share
        share *= SHORTENED
    return 0.0


@unchecked
def short_of(values, change, share):  # type: ignore[no-untyped-def]
    """The same for positive numbers."""
    for i in range(len(values)):
        if -change[i] * share > TO_BOUNDARY * values[i]:
            share = -TO_BOUNDARY * values[i] / change[i]
    return share

"""The state of a column in a node of a search, in a leaf of a proof, or forced by a set of masks.

One byte a column, the same wherever states are kept. No file holds them, for proofs store trees;
but the digest of a problem with forced columns is taken over them, so the numbers must stay.
"""

import numpy as np
from numpy.typing import NDArray

FREE, PRUNED, KEPT = 0, 1, 2
"""Either; to be pruned (z = 1); to be kept (z = 0)."""

States = NDArray[np.int8]
"""(n,) states of the columns of a part, or (leaves, n)."""

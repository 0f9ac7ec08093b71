"""Types of arrays.

A mask is boolean, True = kept; a pruned set is boolean, True = pruned. Numbers are float64.
"""

import numpy as np
from numpy.typing import NDArray

Mask = NDArray[np.bool_]
Vector = NDArray[np.float64]
Matrix = NDArray[np.float64]

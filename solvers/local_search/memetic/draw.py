"""Random whole numbers inside kernels: xorshift64* (Vigna, arXiv 1402.6246)."""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from maskgap.solvers.kernels.jit import strict


def new_state(seed: Sequence[int]) -> NDArray[np.uint64]:
    """(1,) uint64, the state that `below` takes on; the same for the same whole numbers."""
    return np.random.SeedSequence(seed).generate_state(1, np.uint64) | np.uint64(1)


@strict
def below(random, bound):  # type: ignore[no-untyped-def]
    """A random whole number below `bound`; random: (1,) uint64, the state."""
    x = random[0]
    x ^= x >> np.uint64(12)
    x ^= x << np.uint64(25)
    x ^= x >> np.uint64(27)
    random[0] = x
    return np.int64(((x * np.uint64(2685821657736338717)) >> np.uint64(33)) % np.uint64(bound))

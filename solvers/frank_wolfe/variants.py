"""The Frank-Wolfe variants by name, and the numbers that compiled code knows them by."""

from typing import Literal, get_args

Variant = Literal["decomposition-invariant", "vanilla", "away", "pairwise", "blended-pairwise"]
VARIANTS: tuple[Variant, ...] = get_args(Variant)
EDGES, VANILLA, AWAY, PAIRWISE, BLENDED = range(5)

"""The Frank-Wolfe variants by name, and the numbers that compiled code knows them by."""

VARIANTS = ("decomposition-invariant", "vanilla", "away", "pairwise", "blended-pairwise")
EDGES, VANILLA, AWAY, PAIRWISE, BLENDED = range(5)

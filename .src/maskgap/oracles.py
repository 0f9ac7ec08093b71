"""Sets for `maskgap.minimise`, seen through linear minimisation oracles."""

from maskgap.solvers.oracles.mixed.make import (
    birkhoff,
    box,
    cardinality,
    function,
    highs,
    hypersimplex,
    knapsack,
    milp,
    model_file,
    scip,
    simplex,
)
from maskgap.solvers.oracles.mixed.protocol import SetOracle, Space, Vertex

__all__ = [
    "SetOracle",
    "Space",
    "Vertex",
    "birkhoff",
    "box",
    "cardinality",
    "function",
    "highs",
    "hypersimplex",
    "knapsack",
    "milp",
    "model_file",
    "scip",
    "simplex",
]

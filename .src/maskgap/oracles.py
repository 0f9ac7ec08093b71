"""Sets for `maskgap.minimise`, seen through linear minimisation oracles."""

from maskgap.solvers.oracles.mixed.make import milp
from maskgap.solvers.oracles.mixed.protocol import SetOracle, Space, Vertex

__all__ = ["SetOracle", "Space", "Vertex", "milp"]

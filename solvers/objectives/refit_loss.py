"""The refit loss of a part (thin)."""
from maskgap.instances.arrays import Kept
from maskgap.instances.problem import Part
class RefitLoss:
    least = 0.0
    margin = 0.0
    functions: list = []
    def __init__(self, part: Part) -> None:
        self.part = part
    @property
    def n(self) -> int: return self.part.n
    def exact(self, kept: Kept) -> float: return self.part.scaled_loss(kept)
    def proof(self, tree, bound, mask): return None

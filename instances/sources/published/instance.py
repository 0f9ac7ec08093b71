"""A published instance: its data as the authors' generator draws it, and the program it means.

The program is what solvers are given. What a point is worth is not asked of the program but of the
instance, by the formula of its family on the data as drawn.
"""

from collections.abc import Callable
from dataclasses import dataclass

from maskgap.instances.arrays import Vector
from maskgap.instances.program import Program


@dataclass(frozen=True, eq=False, slots=True)
class Instance:
    """One instance.

    family, seed, size: as `reported` names them. program: over all variables. worth: x (n,) -> the
    objective of the family.
    """

    family: str
    seed: int
    size: str
    program: Program
    worth: Callable[[Vector], float]

    @property
    def name(self) -> str:
        """`FAMILY SIZE seed SEED`."""
        return f"{self.family} {self.size} seed {self.seed}"

"""The search for masks that goes with a tree: by exchanges, in a small population."""

from dataclasses import dataclass

from maskgap.instances.arrays import Kept
from maskgap.instances.problem import Part
from maskgap.solvers.local_search.neighbours.parts import improve_part
from maskgap.solvers.local_search.terms import Terms
from maskgap.solvers.protocol import Limits


@dataclass(frozen=True, slots=True)
class Masks:
    """The search for masks of a part. seed: whole numbers."""

    part: Part
    limits: Limits
    seed: list[int]

    def better(self, start: Kept | None, population: int) -> Kept:
        """A mask (n,) at least as good as the start."""
        part, journal = self.part, self.limits.journal
        terms = Terms(
            start,
            self.seed,
            population,
            expired=self.limits.deadline.expired,
            report=lambda mask, _: journal.incumbent(mask, part.scaled_loss(mask)),
        )
        return improve_part(part, terms).mask

"""Nothing: a loss is a squared norm, so 0 bounds it. It holds a place, and a mask."""

from dataclasses import dataclass
from typing import Any, ClassVar, Self

from maskgap.instances.formats.proof import Evidence, PartProof, Reading, Writing
from maskgap.instances.problem import Part


@dataclass(frozen=True, slots=True)
class Trivial(Evidence):
    """The evidence of the bound 0."""

    kind: ClassVar[str] = "trivial"

    @property
    def proves(self) -> bool:
        """As `Evidence.proves`."""
        return False

    def write(self, to: Writing) -> dict[str, Any]:
        """As `Evidence.write`."""
        return {}

    @classmethod
    def read(cls, of: Reading) -> Self:
        """As `Evidence.read`."""
        return cls()


def trivial_proof(problem: Part) -> PartProof:
    """The proof of the bound 0 of a problem."""
    return PartProof(problem.row, problem.digest, 0.0, None, Trivial(), height=problem.height)

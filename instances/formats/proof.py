"""A proof that no legal mask of a part beats a stated bound: what is stated, and its evidence.

Nothing here finds or checks one. What a bound can rest on are the classes of
`instances.formats.evidence`; each file there opens with its mathematics. `Evidence` says what they
have in common, which is how they lie in a proof file (`instances.formats.proof_file`).
"""

from abc import ABC, abstractmethod
from collections.abc import Callable, Collection
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar, Self

from numpy.typing import NDArray

from maskgap.instances.arrays import Kept
from maskgap.instances.formats.tensors import Tensors

if TYPE_CHECKING:  # it loads pydantic, which a list of solvers does without
    from maskgap.instances.formats.evidence.head import Head


class Malformed(Exception):  # noqa: N818 - becomes a ProofError with the file's name
    """What is wrong with a file."""


class Evidence(ABC):
    """What a bound rests on; a frozen class for each way to derive it again.

    kind: its name in a proof file. fields: those of a head (`head.OF_KINDS`) that it has there.
    """

    kind: ClassVar[str]
    fields: ClassVar[tuple[str, ...]] = ()

    @property
    def proves(self) -> bool:
        """Whether a bound above 0 can come of it."""
        return True

    @property
    def leaf_count(self) -> int | None:
        """Leaves of its tree, None where it has none."""
        return None

    @abstractmethod
    def write(self, to: "Writing") -> dict[str, Any]:
        """Add its tensors to a file; its fields of the head."""

    @classmethod
    @abstractmethod
    def read(cls, of: "Reading") -> Self:
        """What a file has. Raises Malformed."""


@dataclass(frozen=True, eq=False, repr=False)
class PartProof:
    """A proof for one part.

    row: its number in the layer, the first of a part of `height` rows. problem: digest of the
    Part. bound: the stated lower bound, in units of the layer's loss. mask: the incumbent
    (n,), or None. evidence: what the bound is derived from again. passes: of the work on a whole
    layer, how many this row has had, so that it can be gone on with; nothing is proved by it.
    """

    row: int
    problem: str
    bound: float
    mask: Kept | None
    evidence: Evidence
    passes: int = 0
    height: int = 1

    def __repr__(self) -> str:
        name = f"row {self.row}" if self.height == 1 else f"{self.height} rows from {self.row}"
        return f"PartProof({name}, bound {self.bound} by {self.evidence.kind})"


@dataclass(frozen=True, slots=True)
class Writing:
    """Where the evidence of a part goes.

    key: its tensors have names that begin with it and a dot. tensors: those of the file, added to.
    shifts: numbers of the shifts in it, by their bytes. nested: puts the proof of a row inside
    under a key and with a budget; its head.
    """

    key: str
    tensors: Tensors
    shifts: dict[bytes, int]
    nested: "Callable[[PartProof, str, int], Head]"

    def put(self, name: str, array: NDArray[Any]) -> None:
        """Add a tensor of the part."""
        self.tensors[f"{self.key}.{name}"] = array


@dataclass(frozen=True, slots=True)
class Reading:
    """Where the evidence of a part comes from.

    head: what the part says of itself; it has the fields of its kind. key: as of `Writing`. take:
    the tensor of the file of a name, dtype and number of axes; raises Malformed without one.
    nested: the proof of a row inside, by its head and key. names: of all tensors of the file.
    """

    head: "Head"
    key: str
    take: Callable[[str, Any, int], NDArray[Any]]
    nested: "Callable[[Head, str], PartProof]"
    names: Collection[str]

    def has(self, name: str) -> bool:
        """Whether the part has a tensor of this name."""
        return f"{self.key}.{name}" in self.names

    def tensor(self, name: str, dtype: Any, axes: int) -> NDArray[Any]:
        """A tensor of the part. Raises Malformed."""
        return self.take(f"{self.key}.{name}", dtype, axes)

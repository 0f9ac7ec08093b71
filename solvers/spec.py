"""What the register says of a solver: what it handles, what it gives, what it needs."""

from dataclasses import dataclass
from importlib.util import find_spec

from maskgap.instances.masks.patterns import PATTERNS
from maskgap.instances.objective import ObjectiveName, ObjectiveSpec

INSTALL = "pip install "
"""How the reason begins for which a solver that is not installed has no answer."""

ALL_PATTERNS = tuple(kind.form for kind in PATTERNS)
ROW_PATTERNS = tuple(kind.form for kind in PATTERNS if kind.equal_rows)

MASK_ALONE = (str(ObjectiveName.MASK),)
ALL_OBJECTIVES = tuple(str(name) for name in ObjectiveName)

NUMBA = (("numba", "numba"),)
"""What a solver with compiled kernels requires."""


@dataclass(frozen=True, slots=True)
class Spec:
    """One entry of the register.

    proves: it can give a lower bound that reaches the optimum. bound_only: it gives a bound and no
    mask of its own. claims: its bound is its own word, without a proof. batched: it takes all rows
    at once. randomised: its answer depends on the seed. requires: the modules it imports, with the
    package to install for each. patterns: the kinds it takes; a solver may still refuse some
    problems of a kind, in words. objectives: those it minimises; one that gives masks and proves
    nothing is run under any other on the loss of masks, and its masks are judged under that.
    """

    name: str
    target: str
    summary: str
    proves: bool = False
    bound_only: bool = False
    claims: bool = False
    batched: bool = False
    randomised: bool = False
    requires: tuple[tuple[str, str], ...] = ()
    patterns: tuple[str, ...] = ALL_PATTERNS
    objectives: tuple[str, ...] = MASK_ALONE

    @property
    def missing(self) -> str | None:
        """Why it cannot run here ('pip install ...'), or None when it can."""
        for module, package in self.requires:
            if find_spec(module) is None:
                return f"{INSTALL}{package}"
        return None

    @property
    def gives(self) -> str:
        """What it has to offer beside a mask: proof, claim, bound (and no mask), or mask alone."""
        if self.bound_only:
            return "bound"
        return "mask" if not self.proves else "claim" if self.claims else "proof"

    @property
    def compiled(self) -> bool:
        """Whether it has compiled kernels."""
        return NUMBA[0] in self.requires

    def takes(self, objective: ObjectiveSpec) -> bool:
        """Whether it can be run under an objective: as its own, or for its masks."""
        return objective.name in self.objectives or not (self.proves or self.bound_only)

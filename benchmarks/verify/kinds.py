"""Which evidence is checked how. A new kind of proof gets a line.

That a proof has the form which its problem asks for, all of it, is seen before anything is computed
from it: what all proofs have, in `verify.form`, and what the evidence has, beside its checker.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Generic, TypeVar

from maskgap.benchmarks.verify.clock import Clock
from maskgap.benchmarks.verify.enumeration import enumeration_bound
from maskgap.benchmarks.verify.form import proof_faults
from maskgap.benchmarks.verify.leaves import leaves_bound, leaves_faults
from maskgap.benchmarks.verify.refit import refit_bound, refit_faults
from maskgap.benchmarks.verify.shared_budget import shared_budget_bound, shared_budget_faults
from maskgap.benchmarks.verify.shared_shift import shift_bound, shift_bounds, shift_faults
from maskgap.instances.errors import ProofError
from maskgap.instances.formats.evidence.enumeration import Enumeration
from maskgap.instances.formats.evidence.leaves import Leaves
from maskgap.instances.formats.evidence.refit_leaves import RefitLeaves
from maskgap.instances.formats.evidence.shared_budget import SharedBudget
from maskgap.instances.formats.evidence.shared_shift import SharedShift
from maskgap.instances.formats.evidence.trivial import Trivial
from maskgap.instances.formats.proof import Evidence, PartProof
from maskgap.instances.objective import ObjectiveName
from maskgap.instances.problem import Part

Held = TypeVar("Held", bound=Evidence)


@dataclass(frozen=True, slots=True)
class Checker(Generic[Held]):
    """How evidence of a kind is checked.

    objectives: what it may be about. faults: what is wrong with its form. derive: of one of right
    form, the bound in units of the layer's loss, rounded down, and the count of leaves, masks or
    row proofs; raises ProofError. together: the bounds of several of one layer and pattern, each of
    one leaf, or why there is none; None where they have no work in common.
    """

    objectives: tuple[ObjectiveName, ...]
    faults: Callable[[Part, Held], Iterator[str]]
    derive: Callable[[Part, Held, Clock], tuple[float, int]]
    together: Callable[[Sequence[Part], Sequence[Held]], list[float | ProofError]] | None = None


def _no_faults(_: Part, __: Evidence) -> Iterator[str]:
    return iter(())


def _nothing(_: Part, __: Trivial, ___: Clock) -> tuple[float, int]:
    return 0.0, 0


_ANY, _MASK = tuple(ObjectiveName), (ObjectiveName.MASK,)

CHECKERS: Mapping[type[Evidence], Checker[Any]] = {
    Trivial: Checker(_ANY, _no_faults, _nothing),
    Enumeration: Checker(_MASK, _no_faults, enumeration_bound),
    Leaves: Checker(_MASK, leaves_faults, leaves_bound),
    SharedShift: Checker(_MASK, shift_faults, shift_bound, shift_bounds),
    SharedBudget: Checker(_ANY, shared_budget_faults, shared_budget_bound),
    RefitLeaves: Checker((ObjectiveName.REFIT,), refit_faults, refit_bound),
}


def require_form(problem: Part, proof: PartProof) -> None:
    """Raise ProofError, with the reason, unless the proof is well formed and of this problem."""
    for reason in _faults(problem, proof):
        raise ProofError(f"row {problem.row}: {reason}")


def _faults(problem: Part, proof: PartProof) -> Iterator[str]:
    yield from proof_faults(problem, proof)
    kind = type(proof.evidence)
    if kind not in CHECKERS:
        yield f"it is of kind {kind.__name__!r:.40}, which is none of a proof"
    if problem.objective.name not in CHECKERS[kind].objectives:
        name = problem.objective.name
        yield f"it is of kind {kind.kind}, which is no proof under objective {name}"
    yield from CHECKERS[kind].faults(problem, proof.evidence)


def derived(problem: Part, proof: PartProof, clock: Clock) -> tuple[float, int]:
    """The bound of a well-formed proof, in units of the layer's loss, and its leaves.

    Raises ProofError where it does not hold.
    """
    return CHECKERS[type(proof.evidence)].derive(problem, proof.evidence, clock)


def derived_together(
    problems: Sequence[Part], proofs: Sequence[PartProof]
) -> list[tuple[float, int] | ProofError | None]:
    """`derived` of those among several whose work is common; of the others None.

    None too for those whose form is not right, and for one by itself.
    """
    found: list[tuple[float, int] | ProofError | None] = [None] * len(proofs)
    for kind, checker in CHECKERS.items():
        if checker.together is None:
            continue
        own = [place for place, proof in enumerate(proofs) if _is_of(proof, kind)]
        well = [place for place in own if _well_formed(problems[place], proofs[place])]
        if len(well) < 2:
            continue
        bounds = checker.together([problems[i] for i in well], [proofs[i].evidence for i in well])
        for place, bound in zip(well, bounds, strict=True):
            found[place] = bound if isinstance(bound, ProofError) else (bound, 1)
    return found


def _well_formed(problem: Part, proof: PartProof) -> bool:
    """False too for what cannot even be looked at, which whoever checks it alone will tell."""
    try:
        return next(_faults(problem, proof), None) is None
    except Exception:  # a solver may hand over anything
        return False


def have_work_in_common(proof: object) -> bool:
    """Whether proofs of this kind are checked together at less cost than one by one."""
    return any(_is_of(proof, kind) for kind, own in CHECKERS.items() if own.together is not None)


def _is_of(proof: object, kind: type[Evidence]) -> bool:
    return isinstance(proof, PartProof) and type(proof.evidence) is kind

"""Check a bound of rows that share one budget, from proofs of rows under budgets of their own.

A row proof gives a lower bound b(k) under every budget k of its row; of several proofs of a row the
highest counts, and where there is none 0 does. `benchmarks.verify.budget_curve` puts the rows
together.
"""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Generic, TypeVar

import numpy as np

from maskgap.benchmarks.verify.budget_curve import share_budget
from maskgap.benchmarks.verify.clock import Clock
from maskgap.benchmarks.verify.form import proof_faults, row_under
from maskgap.benchmarks.verify.leaves import leaves_faults
from maskgap.benchmarks.verify.refit import refit_curve, refit_faults, refit_single
from maskgap.benchmarks.verify.row_curve import leaf_curve
from maskgap.instances.arrays import Vector
from maskgap.instances.errors import ProofError
from maskgap.instances.formats.evidence.leaves import Leaves
from maskgap.instances.formats.evidence.refit_leaves import RefitLeaves
from maskgap.instances.formats.evidence.shared_budget import RowProof, SharedBudget
from maskgap.instances.formats.proof import Evidence, PartProof
from maskgap.instances.objective import ObjectiveName
from maskgap.instances.problem import Part

Held = TypeVar("Held", bound=Evidence)


@dataclass(frozen=True, slots=True)
class RowChecker(Generic[Held]):
    """How evidence of a kind bounds a row under an objective.

    faults: of its form. single: whether it is one leaf, that bounds the row under every budget.

    curve: b (n + 1,) of the row under its budget, in units of the layer's loss; raises ProofError.
    """

    objective: ObjectiveName
    faults: Callable[[Part, Held], Iterator[str]]
    single: Callable[[Held], bool]
    curve: Callable[[Part, Held], Vector]


def _single(leaves: Leaves) -> bool:
    return len(leaves.branch) == 1 and leaves.function[0] == 0


ROW_CHECKERS: Mapping[type[Evidence], RowChecker[Any]] = {
    Leaves: RowChecker(ObjectiveName.MASK, leaves_faults, _single, leaf_curve),
    RefitLeaves: RowChecker(ObjectiveName.REFIT, refit_faults, refit_single, refit_curve),
}
"""Kinds of evidence that a row proof may have."""


def _kind_under(objective: ObjectiveName) -> str:
    """The kind of evidence that row proofs have under an objective."""
    return next(kind.kind for kind, one in ROW_CHECKERS.items() if one.objective is objective)


def shared_budget_faults(part: Part, shared: SharedBudget) -> Iterator[str]:
    """What is wrong with the form of it; later faults may rest on what earlier ones exclude."""
    groups, n = part.legal.equal_groups, part.layer.d_in
    if groups is None or groups.count != 1:
        yield f"'{part.pattern}' has no budget that its rows share"
    if not isinstance(shared.rows, tuple):
        yield f"its proofs of rows are a {type(shared.rows).__name__}"
    for own in shared.rows:
        if not isinstance(own, RowProof) or not isinstance(own.proof, PartProof):
            yield f"it rests on a {type(own).__name__}, not a proof of a row"
        proof, row = own.proof, own.proof.row
        if row not in part.rows:
            yield f"it rests on a proof of no row of {part.rows.start}:{part.rows.stop}"
        if not isinstance(own.budget, int) or not 0 <= own.budget <= n:
            yield f"the proof of row {row} has no budget of 0 to {n} columns"
        if proof.bound != 0.0:
            yield f"the proof of row {row} states a bound, which only all rows together have"
        alone = row_under(part, row, own.budget)
        yield from proof_faults(alone, proof)
        checker = ROW_CHECKERS.get(type(proof.evidence))
        if checker is None or checker.objective is not part.objective.name:
            kind, wanted = proof.evidence.kind, _kind_under(part.objective.name)
            yield f"the proof of row {row} is of kind '{kind}', not {wanted}"
            continue
        yield from checker.faults(alone, proof.evidence)
        if not checker.single(proof.evidence):
            yield f"the proof of row {row} is not of one leaf with a function"


def row_bounds(part: Part, own: RowProof) -> Vector:
    """(n + 1,) lower bounds b(k) >= 0, k = 0, ..., n, of a row, in units of the layer's loss.

    part: rows that share one budget. own: of one of them, of a form that `shared_budget_faults`
    has found right in a proof of the part. Raises ProofError.
    """
    evidence = own.proof.evidence
    checker = ROW_CHECKERS.get(type(evidence))
    if checker is None or not checker.single(evidence):
        raise ProofError(f"row {own.proof.row}: a shared budget takes proofs of one leaf")
    return checker.curve(row_under(part, own.proof.row, own.budget), evidence)


def shared_budget_bound(part: Part, shared: SharedBudget, clock: Clock) -> tuple[float, int]:
    """The bound of all rows, in units of the layer's loss, and the proofs. Raises ProofError."""
    n = part.layer.d_in
    curves: dict[int, Vector] = {row: np.zeros(n + 1) for row in part.rows}
    for seen, own in enumerate(shared.rows):
        clock.look(f"{seen} of {len(shared.rows)} proofs of rows are")
        row = own.proof.row
        curves[row] = np.maximum(curves[row], row_bounds(part, own))
    bound = share_budget(list(curves.values()), part.legal.total_pruned).bound
    return bound, len(shared.rows)

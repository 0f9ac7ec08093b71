"""Check a proof of a lower bound from the problem's data alone, with no code of any solver.

This file holds the course of a check; `benchmarks.verify.kinds` says which evidence is checked by
which file, and that a proof has the form which its problem asks for is seen there, before anything
is computed from it. A stated bound above the derived one is a rejection, however small the
difference; the derived one is what counts.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from maskgap.benchmarks.verify.clock import Clock
from maskgap.benchmarks.verify.form import has_mask
from maskgap.benchmarks.verify.kinds import (
    derived,
    derived_together,
    have_work_in_common,
    require_form,
)
from maskgap.benchmarks.verify.objective import Loss, exact_loss, scores_of_parts
from maskgap.benchmarks.verify.quadratic import require_arithmetic
from maskgap.instances.errors import MaskgapError, ProofError
from maskgap.instances.formats.proof import PartProof
from maskgap.instances.formats.proof_file import ProofFile
from maskgap.instances.masks.patterns import parse_pattern
from maskgap.instances.problem import Part, Problem

CHECKER = 3
"""Version of the rules by which proofs are accepted: what an earlier one accepted is judged again.

2: factors are multiplied out, one form for all parts of a proof, objectives are intervals.
3: functions may hold in a subtree only.
"""

MANY_COLUMNS = 1024
"""From here on the exact loss of a mask takes tenths of a second and more."""


@dataclass(frozen=True, slots=True)
class Checked:
    """What was derived again.

    bound: lower bound on the loss of every legal mask, in units of the layer's loss, at least the
    stated one and never negative. loss: of the proof's mask, None without one; exact but for rows
    of many columns whose bound lies well below it. leaves: of the tree; for an enumeration, the
    masks listed.
    """

    bound: float
    loss: Loss | None
    leaves: int


def check_part(problem: Part, proof: PartProof, clock: Clock | None = None) -> Checked:
    """Derive the bound of a proof again. Raises ProofError with the reason when it fails.

    clock: the time that it may take; None for no limit.
    """
    (found,) = check_parts([problem], [proof], clock)
    if isinstance(found, ProofError):
        raise found
    return found


def check_parts(
    problems: Sequence[Part], proofs: Sequence[PartProof], clock: Clock | None = None
) -> list[Checked | ProofError]:
    """The same of parts of one layer under one pattern; why one fails stands in its place.

    What they have in common is done once: products with the Gram, and the factor of a shift.
    """
    clock = clock or Clock()
    require_arithmetic()
    # what leaves float64 is looked for where it matters, and is no news on a terminal
    with np.errstate(all="ignore"):
        bounds = derived_together(problems, proofs)
        losses = _losses(problems, proofs) if len(proofs) > 1 else [None] * len(proofs)
        return [
            _checked(problem, proof, clock, bound, loss)
            for problem, proof, bound, loss in zip(problems, proofs, bounds, losses, strict=True)
        ]


def checked_together(
    parts: Sequence[Part], proofs: Sequence[PartProof | None]
) -> dict[int, Checked | ProofError]:
    """What checking gave of the proofs, by place, that have work in common with others."""
    own = {place: proof for place, proof in enumerate(proofs) if proof is not None}
    chosen = [place for place, proof in own.items() if have_work_in_common(proof)]
    if len(chosen) < 2:
        return {}
    found = check_parts([parts[place] for place in chosen], [own[place] for place in chosen])
    return dict(zip(chosen, found, strict=True))


def _checked(
    problem: Part,
    proof: PartProof,
    clock: Clock,
    known: tuple[float, int] | ProofError | None,
    enclosed: Loss | None,
) -> Checked | ProofError:
    """One of them. known: what was derived with others. enclosed: an interval of its mask's loss.

    The exact loss is found where that does not tell whether the bound lies below it.
    """
    try:
        require_form(problem, proof)
        if isinstance(known, ProofError):
            raise known
        bound, leaves = derived(problem, proof, clock) if known is None else known
        loss = enclosed
        if proof.mask is not None and not (loss is not None and bound <= loss.low):
            loss = exact_loss(problem, proof.mask)
        if not proof.bound <= max(0.0, bound):
            raise ProofError(
                f"row {proof.row}: the stated bound {proof.bound:.17g} is not supported: "
                f"the proof gives {bound:.17g}"
            )
        if loss is not None and not bound <= loss.high:
            raise ProofError(
                f"row {proof.row}: the bound {bound:.17g} exceeds the loss {loss.high:.17g} "
                "of a mask"
            )
    except ProofError as error:
        return error
    except (MaskgapError, MemoryError) as error:
        return ProofError(f"row {problem.row}: it cannot be checked: {error}")
    return Checked(bound, loss, leaves)


def _losses(problems: Sequence[Part], proofs: Sequence[PartProof]) -> list[Loss | None]:
    """Intervals of the masks' losses from one product, where whole numbers would take long."""
    found: list[Loss | None] = [None] * len(proofs)
    chosen = [
        place
        for place, (part, proof) in enumerate(zip(problems, proofs, strict=True))
        if part.n >= MANY_COLUMNS and not part.objective.refits and has_mask(part, proof)
    ]
    masks = [mask for i in chosen if (mask := proofs[i].mask) is not None]
    try:
        scores = scores_of_parts([problems[i] for i in chosen], masks)
    except (MaskgapError, MemoryError):
        return found  # each is asked for again by itself, and says why
    for place, score in zip(chosen, scores, strict=True):
        found[place] = score.loss
    return found


def question_of(whole: Problem, file: ProofFile, asked: range | None) -> Problem:
    """The problem that a file must be about, and is: rows `asked` of a whole layer's.

    Where none are asked for, those are all rows if the pattern couples them, else the file's own.
    Raises ProofError when the file is about another question, InputError for rows out of range.
    """
    problem, d_out = whole, whole.layer.d_out
    some = 0 <= file.rows.start < file.rows.stop <= d_out  # else it is about no rows of the layer
    if asked is not None:
        problem = Problem.of(whole.layer, whole.pattern, asked, objective=whole.objective)
    elif some and not whole.pattern.coupled:
        problem = Problem.of(whole.layer, whole.pattern, file.rows, objective=whole.objective)
    require_same_question(problem, file)
    return problem


def require_same_question(problem: Problem, file: ProofFile) -> None:
    """Raise ProofError unless a file is about the layer, pattern, objective and rows of a problem.

    Its parts are those of the problem, each once and in order.
    """
    layer = problem.layer
    if file.objective != problem.objective:
        raise ProofError(f"it is about the objective '{file.objective}', not '{problem.objective}'")
    if file.layer != layer.digest:
        raise ProofError(f"it belongs to another layer than {layer.name}")
    try:
        stated = parse_pattern(file.pattern)
    except MaskgapError as error:
        raise ProofError(str(error)) from None
    if stated.meaning != problem.pattern.meaning:
        raise ProofError(f"it is about the pattern '{file.pattern}', not '{problem.pattern.text}'")
    if file.rows != problem.rows:
        raise ProofError(
            f"it is about rows {file.rows.start}:{file.rows.stop}, not "
            f"{problem.rows.start}:{problem.rows.stop}"
        )
    found = [range(proof.row, proof.row + proof.height) for proof in file.proofs]
    wanted = [part.rows for part in problem]
    if found != wanted:
        held = ", ".join(f"{rows.start}:{rows.stop}" for rows in found[:8]) or "none"
        raise ProofError(
            f"it must have a proof of each part of rows {problem.rows.start}:{problem.rows.stop}, "
            f"once and in order; it has {len(found)} of {len(wanted)}: {held}"
        )

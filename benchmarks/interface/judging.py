"""The Python interface to what is verified: masks and proofs, with no code of any solver."""

from collections.abc import Sequence
from dataclasses import dataclass
from math import inf
from os import PathLike
from pathlib import Path
from typing import Unpack

from numpy.typing import ArrayLike

from maskgap.benchmarks.interface.problems import LayerExtras, problem_of, read_layer, weights_of
from maskgap.benchmarks.verify.certificate import Certificate, certify_part, width_for
from maskgap.benchmarks.verify.check import Checked, check_part, question_of
from maskgap.benchmarks.verify.clock import Clock
from maskgap.benchmarks.verify.objective import Score, scores_of, sum_down
from maskgap.instances.conversion import as_array
from maskgap.instances.errors import InputError, ProofError
from maskgap.instances.formats.proof import PartProof
from maskgap.instances.formats.proof_file import ProofFile, read_proof
from maskgap.instances.formats.row_range import parse_rows
from maskgap.instances.layer import Layer
from maskgap.instances.masks.patterns import parse_pattern
from maskgap.instances.objective import objective_spec
from maskgap.instances.problem import Problem


def certify(
    weight: ArrayLike,
    gram: ArrayLike,
    pattern: str,
    mask: ArrayLike,
    *,
    weights: ArrayLike | None = None,
    objective: str = "mask",
    ridge: float | None = None,
    bounds: ArrayLike | None = None,
    tolerance: float = 1e-6,
    **more: Unpack[LayerExtras],
) -> list[Certificate]:
    """Judge a mask (d_out, d_in), True = kept, with one claimed lower bound a part, or none.

    A part is a row, or the rows that the pattern couples. objective: "mask", or "refit", where
    weights that stay are re-optimised; ridge: of refit, 0.01 if None. weights: under refit,
    (d_out, d_in) what became of them, 0 where pruned, judged as they are; None: the best there are.
    tolerance: relative gap of the verdict. more: further fields of the layer. Raises InputError for
    bad arrays or pattern, for a mask that does not meet it, and for weights that are not of it.
    """
    problem = problem_of(weight, gram, pattern, mask, objective_spec(objective, ridge), **more)
    claims: list[float | None] = [None] * len(problem)
    if bounds is not None:
        claims = [float(claim) for claim in as_array(bounds, "bounds").reshape(-1)]
    if len(claims) != len(problem):
        raise InputError(f"{len(claims)} bounds for {len(problem)} parts; give one each")
    scores: list[Score | None] = [None] * len(problem)
    if weights is not None:
        kept, own = weights_of(problem, weights)
        scores = list(scores_of(problem, kept, width_for(tolerance), own))
    return [
        certify_part(row, row.start, claimed_bound=claim, tolerance=tolerance, recomputed=score)
        for row, claim, score in zip(problem, claims, scores, strict=True)
    ]


@dataclass(frozen=True, slots=True)
class ProofVerdict:
    """What became of a proof. It is true where the proof holds.

    holds: whether all of it does. reason: why not, empty where it does. rows: those that it is
    about. parts: what was derived of each part, a row or rows that the pattern couples, up to the
    first that does not hold.
    """

    holds: bool
    reason: str
    rows: range
    parts: tuple[Checked, ...]

    @property
    def bound(self) -> float | None:
        """Lower bound on the loss of all of its rows together; None where it does not hold."""
        return sum_down([part.bound for part in self.parts]) if self.holds else None

    def __bool__(self) -> bool:
        return self.holds

    def __repr__(self) -> str:
        what = f"bound {self.bound}" if self.holds else self.reason[:100]
        rows = f"rows {self.rows.start}:{self.rows.stop}"
        return f"ProofVerdict({'holds' if self.holds else 'does not hold'}, {rows}, {what})"


def check(
    proof: str | PathLike[str] | PartProof | Sequence[PartProof],
    layer: Layer | str | PathLike[str],
    pattern: str,
    *,
    objective: str = "mask",
    ridge: float | None = None,
    rows: str | None = None,
    time_limit: float | None = None,
) -> ProofVerdict:
    """Verify a proof from the layer's data, as `maskgap check` does.

    proof: a file, or what a solver or `bound` gave, one proof a part in the order of their rows.
    layer: a layer, its file, or the name of a shipped one. objective, ridge: that it must be about,
    as `certify` has them. rows: the half-open range A:B that the
    proof must be about; if None, all rows where the pattern couples them, else those that it has.
    time_limit: seconds, no limit if None. A proof that cannot be read or does not hold is no error.
    Raises InputError for a bad layer, pattern, range or limit, and for a file that is not there.
    """
    limit_s = inf if time_limit is None else time_limit
    if not limit_s > 0:
        raise InputError(f"time_limit {time_limit}: expected a number of seconds above 0")
    own = layer if isinstance(layer, Layer) else read_layer(layer)
    whole = Problem.of(own, parse_pattern(pattern), objective=objective_spec(objective, ridge))
    asked = None if rows is None else parse_rows(rows, own.d_out)
    found, held, clock = asked or whole.rows, list[Checked](), Clock(limit_s)
    if isinstance(proof, str | PathLike) and not Path(proof).exists():
        raise InputError(f"{proof}: there is no such file")
    try:
        file = _file_of(proof, whole)
        problem = question_of(whole, file, asked)
        found = problem.rows
        for part, one in zip(problem, file.proofs, strict=True):
            held.append(check_part(part, one, clock))
    except ProofError as error:
        return ProofVerdict(False, str(error), found, tuple(held))
    return ProofVerdict(True, "", found, tuple(held))


def _file_of(
    proof: str | PathLike[str] | PartProof | Sequence[PartProof], whole: Problem
) -> ProofFile:
    """A proof as its file has it. Proofs at hand say by their digest what they are about."""
    if isinstance(proof, str | PathLike):
        return read_proof(Path(proof))
    proofs = (proof,) if isinstance(proof, PartProof) else tuple(proof)
    if not proofs or not all(isinstance(one, PartProof) for one in proofs):
        raise InputError("proof: expected a file, or proofs as a solver or bound gives them")
    rows = range(proofs[0].row, proofs[-1].row + proofs[-1].height)
    return ProofFile(whole.layer.digest, whole.pattern.text, whole.objective, rows, proofs)

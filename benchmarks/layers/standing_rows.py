"""What is known of the rows of a layer while it is bounded, and of all of them together."""

from dataclasses import dataclass
from math import inf

from maskgap.benchmarks.verify.certificate import BoundKind, Certificate, Verdict
from maskgap.instances.arrays import Kept
from maskgap.instances.convex_function import ConvexFunction
from maskgap.instances.formats.evidence.leaves import Leaves
from maskgap.instances.formats.proof import PartProof
from maskgap.instances.problem import Part


@dataclass(eq=False, repr=False)
class RowState:
    """What is known of a row. mask: the best, or the one to be judged; None before there is one.

    proof: of the highest bound, or None. passes: how many of the ladder it has had. certificate:
    of mask and proof. least: loss of the best mask seen, which no bound can pass; infinite without.
    wrong: why an answer of a run on it was wrong; empty when none was.
    """

    problem: Part
    mask: Kept | None
    proof: PartProof | None
    passes: int
    certificate: Certificate
    least: float = inf
    wrong: str = ""

    def __repr__(self) -> str:
        return f"RowState(row {self.problem.row}, {self.certificate!r})"

    @property
    def width(self) -> float:
        """By how much the bound may still rise, as far as is known; infinite without a mask."""
        return self.least - self.certificate.bound

    @property
    def minorant(self) -> ConvexFunction | None:
        """The function with triangle inequalities that proves its bound by itself, if one does."""
        evidence = None if self.proof is None else self.proof.evidence
        if not isinstance(evidence, Leaves) or len(evidence.functions) != 1:
            return None
        (function,) = evidence.functions
        return function if len(function.triangles) and not function.holds else None


@dataclass(frozen=True, slots=True, repr=False)
class Total:
    """Sums over rows as a certificate has them. closed: how many rows are within the tolerance."""

    objective: float | None
    objective_low: float | None
    objective_high: float | None
    objective_eval: float | None
    bound: float
    bound_kind: BoundKind
    gap: float | None
    verdict: Verdict
    closed: int
    rows: int

    def __repr__(self) -> str:
        gap = "none" if self.gap is None else f"{self.gap:.3g}"
        sums = f"objective {self.objective}, {self.bound_kind} bound {self.bound}, gap {gap}"
        return f"Total({sums}, {self.verdict}, {self.closed} of {self.rows} rows closed)"

    @staticmethod
    def of(sums: Certificate, closed: int, rows: int) -> "Total":
        """What a certificate of all rows together says."""
        return Total(
            sums.objective,
            sums.objective_low,
            sums.objective_high,
            sums.objective_eval,
            sums.bound,
            sums.bound_kind,
            sums.gap,
            sums.verdict,
            closed,
            rows,
        )

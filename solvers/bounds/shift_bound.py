"""Bounds of all rows of a layer by one diagonal shift of its Gram, in batched tensors.

With G - Diag(d) semidefinite for one d (`bounds.layer_shift`), each row w has the convex function

    F(z) = (w * z)^T (G - Diag(d)) (w * z) + sum_j w_j^2 d_j z_j,

equal to its loss on binaries, and its least value over the hull is a lower bound. All rows share
the matrix, so minimising takes products of matrices (`bounds.batch_hull`), and whoever checks the
proofs factorises once. It is weaker than the semidefinite relaxation of each row and is meant for
rows of thousands of columns, which that relaxation cannot take. A singular Gram is no exception:
where no shift is to be had, d is near 0 and the relaxation is the convex one of the loss itself.

Units: R = S^-1 G S^-1 with S^2 = diag(G), weights w * diag(S), each row scaled to mean square 1;
columns of no energy have zero rows in R. Only the last linearisation is in float64, with a margin
for its rounding taken off: sums of at most 4 n + 64 operations whose terms are bounded by
|M_ij| <= r_i r_j, r_i^2 = G_ii + |d_i|, as M = G - Diag(d) is semidefinite.
"""

from dataclasses import dataclass
from typing import Literal

import numpy as np
import torch
from numpy.typing import NDArray

from maskgap.instances.arrays import Kept, Vector, pruned_of
from maskgap.instances.errors import Refused
from maskgap.instances.formats.evidence.shared_shift import SharedShift
from maskgap.instances.formats.proof import PartProof
from maskgap.instances.layer import unit_rows
from maskgap.instances.masks.groups import BudgetGroups
from maskgap.instances.problem import Problem
from maskgap.solvers.bounds import batch_hull, layer_shift
from maskgap.solvers.bounds.unit_diagonal import scaled
from maskgap.solvers.protocol import Answer, Limits, Stop
from maskgap.solvers.settings import Count, NotNegative, settings

PRECISIONS = {"float32": torch.float32, "float64": torch.float64}

SAMPLE = 512
"""Rows whose relaxed points say how the shift should be chosen."""

BLOCK = 1 << 22
"""Entries of the rows that are solved together."""

SAFETY = 8.0
"""The shift is lowered by this many n^2 eps of each diagonal entry, for the checker's Cholesky."""

LIFTS = 14
"""How often that may be taken four times as large for a Gram that is indefinite by rounding."""

_EPS = float(np.finfo(np.float64).eps)


@settings
class ShiftBound:
    """One diagonal shift for all rows."""

    shift: Literal["none", "eig", "proximal"] = "proximal"
    """None, one multiple of diag(G), or that of `bounds.layer_shift`."""
    tolerance: NotNegative = 1e-4
    """Relative gap of the minimisation over the rows of a block."""
    iterations: Count = 300
    """Iterations of that minimisation at most."""
    precision: Literal["float32", "float64"] = "float32"
    """Precision of its steps."""

    def solve_rows(self, problem: Problem, limits: Limits, seed: int) -> list[Answer]:
        """A bound with a proof for each row, no masks; rows not reached by the deadline have none.

        Raises Refused for a device without float64.
        """
        if torch.device(limits.device).type == "mps":
            raise Refused("shift-bound takes cpu or cuda: its bounds are evaluated in float64")
        if limits.deadline.expired():
            return [Answer(None, limits.deadline.stop())] * len(problem)
        before = torch.get_num_threads()
        torch.set_num_threads(max(1, limits.threads))
        try:
            return self._solve(problem, limits)
        finally:
            torch.set_num_threads(before)

    def _solve(self, problem: Problem, limits: Limits) -> list[Answer]:
        with limits.journal.phase("build"):
            work = _Layer.of(problem, limits.device)
            shift, steps = self._shift(work, problem, limits)
            shared = self._shared(work, shift)
            stored = work.stored(shift)
        answers: list[Answer] = []
        for rows in torch.split(torch.arange(len(problem)), max(1, BLOCK // problem.layer.d_in)):
            if limits.deadline.expired():
                answers += [Answer(None, limits.deadline.stop())] * len(rows)
                continue
            point = self._minimise(work, shared, rows, problem, limits)
            stop = limits.deadline.stop() if limits.deadline.expired() else Stop.FINISHED
            counters = {"iterations": point.iterations}
            notes: dict[str, str | float] = {"shift_mean": float(shift.mean()), **steps}
            x = point.x.to(torch.float32)
            first = len(answers)
            bounds = work.stated(stored, rows, x, problem.groups)
            for row, bound, own in zip(rows.tolist(), bounds, x.cpu().numpy(), strict=True):
                proof = PartProof(
                    row=problem.rows[row],
                    problem=problem.part_of(problem.rows[row]).digest,
                    bound=bound,
                    mask=None,
                    evidence=SharedShift(stored, own),
                )
                answers.append(
                    Answer(
                        None,
                        stop,
                        claimed_bound=bound,
                        counters=counters,
                        notes=notes,
                        proof=proof,
                    )
                )
            limits.journal.answered(first, answers[first:])
        return answers

    def _shift(
        self, work: "_Layer", problem: Problem, limits: Limits
    ) -> tuple[torch.Tensor, dict[str, float]]:
        """The shift in units of diag(G), shown feasible, and notes on it."""
        none = torch.zeros_like(work.root)
        if self.shift == "none" or not bool(work.live.any()):
            return work.feasible(none), {}
        live = work.correlation[work.live][:, work.live]
        least = layer_shift.least_eigenvalue(live)
        shift, notes = work.feasible(least * work.live), {"least_eigenvalue": least}
        if self.shift == "eig" or limits.deadline.expired():
            return shift, notes
        rows = len(work.weight)
        sample = torch.linspace(0, rows - 1, min(SAMPLE, rows), dtype=torch.float64)
        chosen = sample.round().long()

        def relaxed(shift: torch.Tensor) -> batch_hull.BatchPoint:
            return self._minimise(work, self._shared(work, shift), chosen, problem, limits)

        point, unit = relaxed(shift), work.scale[chosen].square()
        squares = work.weight[chosen].square() * unit[:, None]
        x = point.x.to(torch.float64).clamp(0.0, 1.0)
        gain = (squares * x * (1.0 - x)).sum(dim=0)[work.live]
        most = 0.25 * squares.sum(dim=0)[work.live]
        if not bool(gain.sum() > 0):
            return shift, notes
        moved = layer_shift.proximal_shift(live, gain, most, least, limits.deadline)
        if moved is None:
            return shift, notes
        other = none.clone()
        other[work.live] = moved
        other = work.feasible(other)
        better = (relaxed(other).bound * unit).sum() > (point.bound * unit).sum()
        return (other if bool(better) else shift), notes

    def _shared(self, work: "_Layer", shift: torch.Tensor) -> batch_hull.Shared:
        """What the rows share under a shift, in the working precision."""
        matrix = layer_shift.lowered(work.correlation, shift)
        matrix = matrix.to(PRECISIONS[self.precision])
        lower = torch.linalg.cholesky(2.0 * layer_shift.lowered(matrix, -batch_hull.RHO))
        inverse = torch.cholesky_inverse(lower)
        return batch_hull.Shared(matrix, inverse, shift.to(matrix.dtype))

    def _minimise(
        self,
        work: "_Layer",
        shared: batch_hull.Shared,
        rows: torch.Tensor,
        problem: Problem,
        limits: Limits,
    ) -> batch_hull.BatchPoint:
        """The points of some rows, from the masks that they start with, where they do."""
        weight, start = work.weight[rows].to(shared.matrix.dtype), None
        if problem.start is not None:
            top = problem.rows.start
            kept = problem.start[rows.numpy() + top]
            start = torch.as_tensor(pruned_of(Kept(kept)), device=weight.device).to(weight.dtype)
        return batch_hull.minimise(
            shared,
            weight,
            problem.groups,
            limits.deadline,
            tolerance=self.tolerance,
            iterations=self.iterations,
            start=start,
        )


@dataclass(frozen=True, eq=False)
class _Layer:
    """A layer in the units of the module's docstring, float64.

    gram: G / 2^gram_exponent. root: S (n,), 1 where dead. live: (n,) columns of some energy.
    correlation: R. weight: (rows, n). scale: (rows,), what the weights were divided by.
    raw: weights / 2^exponent, (rows, n). exponents: (rows,), and those of the loss of a row.
    """

    gram: torch.Tensor
    gram_exponent: int
    root: torch.Tensor
    live: torch.Tensor
    correlation: torch.Tensor
    weight: torch.Tensor
    scale: torch.Tensor
    raw: torch.Tensor
    exponents: NDArray[np.int64]

    @staticmethod
    def of(problem: Problem, device: str) -> "_Layer":
        grams, gram_exponent = problem.layer.gram_unit
        rows, exponents = unit_rows(problem.weight)
        gram = torch.as_tensor(grams, device=device)
        raw = torch.as_tensor(rows, device=device)
        energy = gram.diagonal()
        live = energy > 0.0
        root = torch.where(live, energy, torch.ones_like(energy)).sqrt()
        correlation = scaled(gram, torch.where(live, 1.0 / root, torch.zeros_like(root)))
        weight = raw * root * live
        stray = (gram != 0.0).any(dim=1) & ~live
        if bool(stray.any()):
            column = int(stray.nonzero()[0])
            raise Refused(
                f"shift-bound: {problem.layer.name}: gram row {column} has a diagonal entry of 0 "
                "and others that are not: it is indefinite"
            )
        scale = weight.square().mean(dim=1).sqrt()
        scale = torch.where(scale > 0.0, scale, torch.ones_like(scale))
        return _Layer(
            gram,
            gram_exponent,
            root,
            live,
            correlation,
            weight / scale[:, None],
            scale,
            raw,
            2 * exponents + gram_exponent,
        )

    def feasible(self, shift: torch.Tensor) -> torch.Tensor:
        """The shift lowered until R - Diag(d) factorises with room for a checker's rounding.

        Raises Refused for a Gram that is indefinite by more than rounding.
        """
        room = SAFETY * len(shift) ** 2 * _EPS
        for lift in range(LIFTS):
            by = room * 4.0**lift
            lower = layer_shift.cholesky(layer_shift.lowered(self.correlation, shift - 0.5 * by))
            if lower is not None:
                return shift - by
        raise Refused("shift-bound: the Gram is indefinite by more than rounding")

    def stored(self, shift: torch.Tensor) -> Vector:
        """The shift d (n,) float64 in units of the layer's Gram; 0 for columns of no energy."""
        unit = torch.where(self.live, shift * self.root.square(), torch.zeros_like(shift))
        return np.asarray(np.ldexp(unit.cpu().numpy(), self.gram_exponent))

    def stated(
        self, shared: Vector, rows: torch.Tensor, x: torch.Tensor, groups: BudgetGroups
    ) -> list[float]:
        """The bounds of points x (some rows, n) in units of the layer's loss, rounded down."""
        d = torch.as_tensor(np.ldexp(shared, -self.gram_exponent), device=self.gram.device)
        weight, x = self.raw[rows], x.to(torch.float64)
        image = weight * x
        product = weight * (image @ self.gram - d * image)
        grouped = (2.0 * product + weight.square() * d).reshape(len(x), groups.count, groups.size)
        lowest = torch.topk(grouped, groups.pruned, dim=-1, largest=False).values.sum(dim=(-1, -2))
        value = lowest - (x * product).sum(dim=-1)
        spread = (self.gram.diagonal().abs() + d.abs()).sqrt()
        width = (weight.abs() * spread).sum(dim=-1)
        inner = (image.abs() * spread).sum(dim=-1)
        size = inner * inner + 2.0 * width * inner + weight.square() @ d.abs()
        margin = 2.0 * _EPS * (4 * len(d) + 64) * size
        lower = (value - margin).clamp_min(0.0).cpu().numpy()
        return [float(v) for v in np.ldexp(lower, self.exponents[rows.numpy()])]

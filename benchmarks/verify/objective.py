"""The loss of a mask as an interval that holds for the real numbers behind w and G.

For a row, with e = w on its pruned columns and 0 elsewhere,

    mask     L = max(0, e^T G e)

of the float64 numbers that the layer holds, taken as exact (of a part: the sum over its rows).
Under the objective refit e may be anything on kept columns, and with H of `instances.hessian`

    refit    g = min over e_S of e^T H e.

An e is found by a Cholesky factorisation, of which nothing is assumed: e^T H e is above g for any,
and what g can lie below it follows from H e. Weights that are given with a mask, x with x = 0 on
pruned columns, are judged as they are, e = w - x, by arithmetic alone. The
arithmetic of all three is one, that of `benchmarks.verify.enclosure`.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from math import fsum, inf, nextafter

import numpy as np

from maskgap.benchmarks.verify.enclosure import WIDTH, Loss, Metric, Rows, enclosed
from maskgap.instances.arrays import Kept, Matrix, Vector, pruned_of
from maskgap.instances.change import change_errors
from maskgap.instances.errors import InputError
from maskgap.instances.hessian import Hessian
from maskgap.instances.layer import Layer
from maskgap.instances.objective import ObjectiveSpec
from maskgap.instances.problem import Part, Problem

__all__ = ["WIDTH", "Loss"]


@dataclass(frozen=True, slots=True)
class Score:
    """What a mask is worth, in units of the layer's loss.

    loss: the objective. objective_eval: the error on the held-out Gram, in float64; None without
    one. error_without_ridge: under refit, that of the same weights on G, in float64; else None.
    """

    loss: Loss
    objective_eval: float | None = None
    error_without_ridge: float | None = None


def loss_of(problem: Part, mask: Kept, width: float = WIDTH) -> Loss:
    """The loss of a mask (n,) of a part. Raises InputError where float64 ends."""
    return total_loss(_judged(problem, mask).losses(width))


def exact_loss(problem: Part, mask: Kept) -> Loss:
    """The same in whole numbers, whatever the width; under refit, of weights found in float64."""
    return loss_of(problem, mask, width=-1.0)


def losses_of(problem: Problem, masks: Kept, width: float = WIDTH) -> list[Loss]:
    """The losses of masks (rows, d_in) of a problem, one a part. Raises InputError."""
    rows = _Judged(problem.layer, problem.objective, problem.weight, masks).losses(width)
    return _by_part(rows, problem.height)


def score_of(problem: Part, mask: Kept, width: float = WIDTH) -> Score:
    """What a mask (n,) of a part is worth. Raises InputError where float64 ends."""
    (score,) = _judged(problem, mask).scores(problem.height, width)
    return score


def row_scores(problem: Part, mask: Kept, width: float = WIDTH) -> list[Score]:
    """The same of each row of a part under its mask (n,)."""
    return _judged(problem, mask).scores(1, width)


def scores_of(
    problem: Problem, masks: Kept, width: float = WIDTH, weights: Matrix | None = None
) -> list[Score]:
    """What masks (rows, d_in) are worth, one score a part.

    weights: (rows, d_in), in units of the layer's, 0 where pruned: those that stay, judged as they
    are; None: the best there are. Raises InputError where float64 ends.
    """
    judged = _Judged(problem.layer, problem.objective, problem.weight, masks, weights)
    return judged.scores(problem.height, width)


def scores_of_parts(
    parts: Sequence[Part], masks: Sequence[Kept], width: float = WIDTH
) -> list[Score]:
    """What masks (n,) of some parts of one layer, of equal heights, are worth, together.

    Raises InputError where float64 ends.
    """
    if not parts:
        return []
    layer, height = parts[0].layer, parts[0].height
    weight = np.concatenate([part.weight.reshape(height, -1) for part in parts])
    shape = (len(weight), layer.d_in)
    by_row = Kept(np.stack(masks).reshape(shape))
    return _Judged(layer, parts[0].objective, weight, by_row).scores(height, width)


def loss_of_weights(problem: Part, mask: Kept, weights: Vector, width: float = WIDTH) -> Loss:
    """The refit loss of weights (n,) as they are. Raises InputError for what is not weights."""
    require_weights(problem.layer.name, mask, weights)
    shape = (problem.height, -1)
    rows = problem.weight.reshape(shape), Kept(mask.reshape(shape)), weights.reshape(shape)
    return total_loss(_Judged(problem.layer, problem.objective, *rows).losses(width))


def require_weights(name: str, mask: Kept, weights: object) -> None:
    """Raise InputError unless weights are float64 of a mask's shape, finite, 0 where pruned."""
    if not (
        isinstance(weights, np.ndarray)
        and weights.dtype == np.float64
        and weights.shape == mask.shape
    ):
        raise InputError(f"{name}: weights must be float64 of shape {mask.shape}")
    if not bool(np.isfinite(weights).all()):
        raise InputError(f"{name}: weights are not all finite numbers")
    if bool(weights[pruned_of(mask)].any()):
        raise InputError(f"{name}: weights are not 0 everywhere that the mask prunes")


@dataclass(frozen=True, eq=False)
class _Judged:
    """Rows of weights (rows, d_in) under masks alike, and weights that are judged as they are."""

    layer: Layer
    objective: ObjectiveSpec
    weight: Matrix
    masks: Kept
    weights: Matrix | None = None

    def _vectors(self) -> Rows:
        if not self.objective.refits:
            return Rows(np.where(self.masks, 0.0, self.weight))
        if self.weights is not None:
            return Rows(self.weight, self.weights)
        hessian = Hessian.of(self.layer, self.objective.ridge)
        return Rows(hessian.changes(self.weight, self.masks), free=self.masks)

    def _metric(self) -> Metric:
        if not self.objective.refits:
            return Metric.of_gram(self.layer)
        return Metric.of_hessian(Hessian.of(self.layer, self.objective.ridge))

    def losses(self, width: float) -> list[Loss]:
        """One a row."""
        return enclosed(self._metric(), self._vectors(), width)

    def scores(self, height: int, width: float) -> list[Score]:
        """One a part of so many rows."""
        vectors = self._vectors()
        rows = _by_part(enclosed(self._metric(), vectors, width), height)
        change = vectors.first if vectors.second is None else vectors.first - vectors.second
        held_out = self.layer.gram_eval
        evals = None if held_out is None else _float_losses(held_out, change, height)
        without = _float_losses(self.layer.gram, change, height) if self.objective.refits else None
        return [
            Score(
                loss,
                None if evals is None else evals[place],
                None if without is None else without[place],
            )
            for place, loss in enumerate(rows)
        ]


def _judged(problem: Part, mask: Kept) -> _Judged:
    shape = (problem.height, problem.layer.d_in)
    rows = problem.weight.reshape(shape), Kept(mask.reshape(shape))
    return _Judged(problem.layer, problem.objective, *rows)


def _float_losses(gram: Matrix, change: Matrix, height: int) -> list[float]:
    """(parts,) the same in float64, each of so many rows."""
    return list(change_errors(gram, change).reshape(-1, height).sum(axis=1).tolist())


def _by_part(rows: Sequence[Loss], height: int) -> list[Loss]:
    return [total_loss(rows[top : top + height]) for top in range(0, len(rows), height)]


def total_loss(losses: Sequence[Loss]) -> Loss:
    """The sum of losses; its ends are rounded outwards."""
    if len(losses) == 1:
        return losses[0]
    return Loss(
        fsum(loss.value for loss in losses),
        sum_down([loss.low for loss in losses]),
        sum_up([loss.high for loss in losses]),
        fsum(loss.resolution for loss in losses),
    )


def sum_down(values: Sequence[float]) -> float:
    """A float64 number at most the exact sum of finite numbers, and next to it."""
    total = fsum(values)
    return nextafter(total, -inf) if fsum([*values, -total]) < 0.0 else total


def sum_up(values: Sequence[float]) -> float:
    """A float64 number at least the exact sum of finite numbers, and next to it."""
    return -sum_down([-value for value in values])

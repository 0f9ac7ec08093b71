"""Scores of single weights, from which a mask prunes the lowest in each budget group.

With G = X X^T, so that ||X_j||_2 = sqrt(G_jj):

    magnitude  |w_ij|
    wanda      |w_ij| ||X_j||_2                                        (arXiv 2306.11695)
    ria        (|w_ij| / sum_j |w_ij| + |w_ij| / sum_i |w_ij|) ||X_j||_2^a, a = 1/2
               (Relative Importance and Activations, ICLR 2024)
    obs        w_ij^2 / [H^-1]_jj, H = G + damping mean(diag G) I      (Optimal Brain Surgeon)
    random     uniform, seeded

A column whose inputs are all zero costs nothing to prune, so wherever the Gram enters, its score
is 0. Scores are computed on whole layers, since `ria` needs the column sums.
"""

from typing import get_args

import numpy as np

from maskgap.instances.arrays import Kept, Matrix
from maskgap.instances.errors import InputError
from maskgap.instances.layer import Layer
from maskgap.instances.problem import Part, Problem
from maskgap.solvers.one_shot.hessian import DAMPING, InverseHessian
from maskgap.solvers.settings import Score

RIA_EXPONENT = 0.5
WARM_STARTS: tuple[str, ...] = get_args(Score)


def magnitude(layer: Layer) -> Matrix:
    """|w|, (d_out, d_in)."""
    return np.abs(layer.weight)


def _input_norms(layer: Layer) -> np.ndarray[tuple[int], np.dtype[np.float64]]:
    gram, _ = layer.gram_unit  # a common factor does not change the order
    norms: np.ndarray[tuple[int], np.dtype[np.float64]] = np.sqrt(np.maximum(gram.diagonal(), 0.0))
    return norms


def wanda(layer: Layer) -> Matrix:
    """|w| times the norm of the column's inputs, (d_out, d_in)."""
    return np.abs(layer.weight) * _input_norms(layer)


def ria(layer: Layer, exponent: float = RIA_EXPONENT) -> Matrix:
    """Relative importance times input norm to the power `exponent`, (d_out, d_in)."""
    size = np.abs(layer.weight)
    rows, columns = size.sum(axis=1, keepdims=True), size.sum(axis=0, keepdims=True)
    relative = size / np.where(rows > 0, rows, 1.0) + size / np.where(columns > 0, columns, 1.0)
    norms = _input_norms(layer)
    return np.where(norms > 0, relative * norms**exponent, 0.0)


def obs(layer: Layer, damping: float = DAMPING) -> tuple[Matrix, float]:
    """w^2 / [H^-1]_jj (d_out, d_in) and the damping used, as a share of the mean diagonal.

    Raises Refused when H stays singular (`solvers.one_shot.hessian`).
    """
    inverse = InverseHessian.of(layer, damping)
    return np.where(inverse.live, layer.weight**2 / inverse.diagonal(), 0.0), inverse.damping


def random(layer: Layer, seed: int) -> Matrix:
    """Uniform scores, (d_out, d_in); each row depends on the seed and its number alone."""
    return np.stack(
        [np.random.default_rng([seed, row]).random(layer.d_in) for row in range(layer.d_out)]
    )


def score(layer: Layer, name: str, seed: int) -> Matrix:
    """Scores by name, (d_out, d_in). Raises InputError for an unknown name."""
    if name == "magnitude":
        return magnitude(layer)
    if name == "wanda":
        return wanda(layer)
    if name == "ria":
        return ria(layer)
    if name == "obs":
        return obs(layer)[0]
    if name == "random":
        return random(layer, seed)
    raise InputError(
        f"warm start '{name}' is neither a file nor one of {', '.join(WARM_STARTS)}, none"
    )


def starting_masks(problem: Problem, warm_start: str, seed: int) -> Kept | None:
    """Masks (parts, n) to start from: the problem's own, else by score name; None for 'none'."""
    if problem.start is not None:
        rows = problem.start[problem.rows.start : problem.rows.stop]
        return Kept(rows.reshape(len(problem), -1))
    if warm_start == "none":
        return None
    return lowest(problem, score(problem.layer, warm_start, seed))


def lowest(problem: Problem, scores: Matrix) -> Kept:
    """Masks (parts, n) that prune the lowest scores; scores: (d_out, d_in), of the whole layer."""
    own = scores[problem.rows.start : problem.rows.stop].reshape(len(problem), -1)
    if problem.pattern.equal_rows:
        return problem.groups.prune_lowest(own)
    return Kept(
        np.stack([part.legal.prune_lowest(row) for part, row in zip(problem, own, strict=True)])
    )


def starting_mask(problem: Part, warm_start: str, seed: int) -> Kept | None:
    """Mask (n,) of one part to start from: the problem's own, else by score name, or None."""
    if problem.start is not None or warm_start == "none":
        return problem.start
    rows = slice(problem.rows.start, problem.rows.stop)
    return problem.legal.prune_lowest(score(problem.layer, warm_start, seed)[rows].reshape(-1))

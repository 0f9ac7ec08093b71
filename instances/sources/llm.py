"""Seeded synthetic layers of the shapes of large language models, with outlier features.

Real inputs of such layers have a few feature channels that are large on every token, some 20 to 100
times the others (LLM.int8(), arXiv 2208.07339; SmoothQuant, arXiv 2211.10438), scales that differ
by channel, and most of their energy in few directions. So here the inputs of token t are

    x_jt = d_j y_jt,     y_jt = m_j + sum over f of l_jf g_ft + b e_jt,

with g and e standard normal and FACTORS common factors f; the loadings l_jf are normal with a scale
that falls as f^(-1/2), and their squares sum to FACTOR_SHARE = 1 - b^2 for each channel. log d_j is
normal with median 0. Outlier channels have d_j larger by a factor drawn from 20 to 100 and a mean
m_j that is most of them; other means are small. Weights are Student's t with TAIL degrees of
freedom, a heavier tail than a normal one. These constants are plausible, not fitted to a model.

    G = sum over t of x_t x_t^T

is summed by blocks of tokens in float64; all inputs together are never held. y is rounded to
multiples of 2^-10 and loadings and factors to so few bits that their products are exact: sums are
exact in whatever order they are taken, and a seed gives the same bits wherever numpy draws the same
stream. There is no held-out Gram.
"""

from dataclasses import dataclass, fields

import numpy as np
import scipy.linalg.blas

from maskgap.instances.arrays import Matrix, Vector
from maskgap.instances.errors import InputError
from maskgap.instances.layer import Layer
from maskgap.instances.sources.families import keyed_numbers, short

PREFIX = "llm:"

LARGEST = 1 << 15
FACTORS = 64
FACTOR_SHARE = 0.5
"""Share of the variance of y that the common factors have; noise has the rest."""

SPREAD = 0.5
"""Standard deviation of log d_j."""

OUTLIER_GAIN = (20.0, 100.0)
OUTLIER_MEAN = 2.0
"""m_j of an outlier, in standard deviations of y, with either sign."""

MEAN = 0.1
"""Standard deviation of m_j over other channels."""

TAIL = 5
TOKENS_AT_ONCE = 1024
BLOCK = 1024


@dataclass(frozen=True, slots=True)
class LlmFamily:
    """A layer like one of a large language model.

    rows, n: d_out and d_in, 1 to LARGEST. tokens: summed in the Gram; None = 2 n. outliers: how
    many outlier channels; None = n / 512, at least 1. seed: of all random numbers. Raises
    InputError for values outside these.
    """

    rows: int = 4096
    n: int = 4096
    tokens: int | None = None
    outliers: int | None = None
    seed: int = 0

    def __post_init__(self) -> None:
        limits = {
            "rows": (1, LARGEST),
            "n": (1, LARGEST),
            "tokens": (1, 1 << 20),
            "outliers": (0, self.n),
        }
        for key, (least, most) in limits.items():
            value = getattr(self, key)
            if value is not None and not least <= value <= most:
                raise InputError(f"llm layer: {key}={value} is not {least} to {most}")

    def layer(self) -> Layer:
        """The layer with (rows, n) weights, its Gram and input mean, named by its text."""
        return _layer(self)

    def __str__(self) -> str:
        """The specification as text that `parse_llm` reads back."""
        pairs = (f"{f.name}={getattr(self, f.name)}" for f in fields(self))
        return PREFIX + ",".join(pair for pair in pairs if not pair.endswith("=None"))


def parse_llm(text: str) -> LlmFamily:
    """Read `llm:key=value,...`; keys left out keep the defaults of LlmFamily. Raises InputError."""
    known = [f.name for f in fields(LlmFamily)]
    return LlmFamily(**keyed_numbers(text, PREFIX, known))


def _layer(spec: LlmFamily) -> Layer:
    random = np.random.default_rng([spec.seed, 0])
    n, tokens = spec.n, 2 * spec.n if spec.tokens is None else spec.tokens
    count = max(1, n // 512) if spec.outliers is None else spec.outliers
    weight = short(random.standard_t(TAIL, (spec.rows, n)) / np.sqrt(TAIL * n / (TAIL - 2)))
    scale = np.exp(SPREAD * random.standard_normal(n))
    mean = MEAN * random.standard_normal(n)
    outliers = np.sort(random.permutation(n)[:count])
    low, high = np.log(OUTLIER_GAIN)
    scale[outliers] *= np.exp(random.uniform(low, high, count))
    mean[outliers] = OUTLIER_MEAN * np.where(random.random(count) < 0.5, -1.0, 1.0)
    gram, total = _gram(spec, short(scale), _coarse(mean, 10), tokens)
    meta = {
        "family": str(spec),
        "tokens": str(tokens),
        "outliers": " ".join(map(str, outliers)),
    }
    # Made as X X^T, so the checks of from_arrays, which copy it some times, are not needed.
    return Layer(weight, gram, None, meta, str(spec), input_mean=total / tokens)


def _gram(spec: LlmFamily, scale: Vector, mean: Vector, tokens: int) -> tuple[Matrix, Vector]:
    """The Gram, and the sum of the inputs over tokens."""
    random = np.random.default_rng([spec.seed, 1])
    n = spec.n
    loadings = random.standard_normal((FACTORS, n)) / np.sqrt(np.arange(1, FACTORS + 1))[:, None]
    loadings *= np.sqrt(FACTOR_SHARE) / np.sqrt((loadings**2).sum(axis=0))
    loadings = _coarse(loadings, 10)
    noise = np.sqrt(1.0 - FACTOR_SHARE)
    gram = np.zeros((n, n), order="F")
    total = np.zeros(n)
    for first in range(0, tokens, TOKENS_AT_ONCE):
        width = min(TOKENS_AT_ONCE, tokens - first)
        inputs = _coarse(random.standard_normal((width, FACTORS)), 6) @ loadings + mean
        inputs += _coarse(noise * random.standard_normal((width, n)), 10)
        inputs = _coarse(inputs, 10)
        total += inputs.sum(axis=0)
        gram = scipy.linalg.blas.dsyrk(1.0, inputs.T, 1.0, gram, lower=1, overwrite_c=1)
    for top in range(0, n, BLOCK):
        rows = slice(top, min(top + BLOCK, n))
        part = np.tril(gram[rows, : rows.stop], top) * np.multiply.outer(
            scale[rows], scale[: rows.stop]
        )
        gram[rows, : rows.stop] = part
        gram[: rows.stop, rows] = part.T
        corner = part[:, top:]
        gram[rows, rows] = corner + np.tril(corner, -1).T
    return gram.T, scale * total


def _coarse(values: Matrix, bits: int) -> Matrix:
    """Values rounded to multiples of 2^-bits."""
    return np.rint(values * 2.0**bits) * 2.0**-bits

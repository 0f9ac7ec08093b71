"""Families of seeded synthetic layers, along the axes of what makes a row hard to prune.

Inputs X (n, rank) have a share `correlation` of their variance in one common factor,

    x_j = sqrt(correlation) c + sqrt(1 - correlation) f_j,   c, f_j standard normal in R^rank,

so any two columns correlate by `correlation` on average, and C = X X^T scaled to a unit diagonal
has rank min(n, rank), or 1 when correlation is 1. With D the diagonal matrix of column norms d_j,
G = D C D, and the diagonal of Q = diag(w) G diag(w) is

    Q_jj = w_j^2 d_j^2,   log |w_j| and log d_j normal with variance spread^2 / 8 each,

so log Q_jj has standard deviation `spread`: 0 is a flat diagonal (|w| = 1, G_jj = 1), which is
hard; a heavy tail is easy. On top, some columns are exact copies of others in inputs and weights
(ties), some have no input (dead), some have inputs OUTLIER_SCALE times as large. The held-out Gram
has other inputs of the same law. Budgets and N:M belong to the pattern, not to the layer.

The same specification gives the same bits on every machine whose numpy draws the same stream:
inputs are rounded to multiples of 2^-10, so every sum is exact in whatever order it is taken, and
norms and weights to 24 bits.
"""

import re
from collections.abc import Sequence
from dataclasses import dataclass, fields

import numpy as np
from numpy.typing import NDArray

from maskgap.instances.arrays import Matrix, Vector
from maskgap.instances.errors import InputError
from maskgap.instances.layer import Layer

PREFIX = "synthetic:"

SPREADS = {"flat": 0.0, "normal": 1.0, "heavy": 3.0}
"""Names of diagonal spreads: standard deviation of log Q_jj."""

OUTLIER_SCALE = 64.0
"""How much larger the inputs of an outlier column are (a power of two, so scaling is exact)."""

LARGEST_N = 1 << 14
LARGEST_SPREAD = 10.0


@dataclass(frozen=True, slots=True)
class Family:
    """What a synthetic layer is made of.

    n: columns. rows: rows. spread: standard deviation of log Q_jj, at least 0. rank: of the Gram,
    1 to n; None = n. correlation: mean correlation of two columns, 0 to 1. duplicates, dead,
    outliers: how many columns are copies of others, have no input, have large inputs; the columns
    are distinct, as are those copied. seed: of all random numbers.

    Raises InputError for values outside these.
    """

    n: int = 32
    rows: int = 1
    spread: float = SPREADS["normal"]
    rank: int | None = None
    correlation: float = 0.0
    duplicates: int = 0
    dead: int = 0
    outliers: int = 0
    seed: int = 0

    def __post_init__(self) -> None:
        self._require(1 <= self.n <= LARGEST_N, "n", f"1 to {LARGEST_N}")
        self._require(1 <= self.rows <= LARGEST_N, "rows", f"1 to {LARGEST_N}")
        self._require(0 <= self.spread <= LARGEST_SPREAD, "spread", f"0 to {LARGEST_SPREAD:g}")
        self._require(self.rank is None or 1 <= self.rank <= self.n, "rank", f"1 to n = {self.n}")
        self._require(0 <= self.correlation <= 1, "correlation", "0 to 1")
        for key in ("duplicates", "dead", "outliers", "seed"):
            self._require(getattr(self, key) >= 0, key, "0 or more")
        used = 2 * self.duplicates + self.dead + self.outliers
        if used > self.n:
            raise InputError(
                f"synthetic layer: {self.duplicates} copies and their originals, {self.dead} dead "
                f"and {self.outliers} outlier columns are {used}, but n is {self.n}"
            )

    def _require(self, holds: bool, key: str, wanted: str) -> None:
        if not holds:
            raise InputError(f"synthetic layer: {key}={getattr(self, key)} is not {wanted}")

    @property
    def tokens(self) -> int:
        """Number of inputs summed in the Gram: its rank, or n."""
        return self.n if self.rank is None else self.rank

    def layer(self) -> Layer:
        """The layer with (rows, n) weights, its Gram and a held-out Gram, named by its text."""
        return _layer(self)

    def __str__(self) -> str:
        """The specification as text that `parse_family` reads back."""
        pairs = (f"{f.name}={getattr(self, f.name)}" for f in fields(self))
        return PREFIX + ",".join(pair for pair in pairs if not pair.endswith("=None"))


def parse_family(text: str) -> Family:
    """Read `synthetic:key=value,...`; keys left out keep the defaults of Family.

    spread is a number or one of the names in SPREADS. Raises InputError for an unknown or repeated
    key and for a value that is not of its kind.
    """
    known = [f.name for f in fields(Family)]
    values = _pairs(text, PREFIX, known)
    numbers = {key: _number(text, key, value) for key, value in values.items()}
    return Family(**numbers)  # type: ignore[arg-type]


def keyed_numbers(text: str, prefix: str, known: Sequence[str]) -> dict[str, int]:
    """Whole numbers by key of a text `prefix` `key=value,...`. Raises InputError."""
    values = _pairs(text, prefix, known)
    return {key: _whole(text, key, value) for key, value in values.items()}


def _pairs(text: str, prefix: str, known: Sequence[str]) -> dict[str, str]:
    if not text.startswith(prefix):
        raise InputError(f"'{text}' does not start with '{prefix}'")
    values: dict[str, str] = {}
    for pair in filter(None, text.removeprefix(prefix).split(",")):
        key, _, value = (part.strip() for part in pair.partition("="))
        if key not in known:
            raise InputError(f"'{text}': no key '{key}'; the keys are {', '.join(known)}")
        if key in values:
            raise InputError(f"'{text}': key '{key}' is given twice")
        values[key] = value
    return values


def _number(text: str, key: str, value: str) -> int | float:
    if key == "spread" and value in SPREADS:
        return SPREADS[value]
    if key in ("spread", "correlation"):
        if re.fullmatch(r"[0-9]*\.?[0-9]+(e-?[0-9]+)?", value):
            return float(value)
        names = f", or {', '.join(SPREADS)}" if key == "spread" else ""
        raise InputError(f"'{text}': {key}={value} is not a number of 0 or more{names}")
    return _whole(text, key, value)


def _whole(text: str, key: str, value: str) -> int:
    if re.fullmatch(r"[0-9]{1,18}", value):
        return int(value)
    raise InputError(f"'{text}': {key}={value} is not a whole number of 0 or more")


def _layer(spec: Family) -> Layer:
    random = np.random.default_rng([spec.seed, 0])
    n = spec.n
    scale = spec.spread / np.sqrt(8.0)
    norms = short(np.exp(scale * random.standard_normal(n)))
    sizes = short(np.exp(scale * random.standard_normal((spec.rows, n))))
    weight = np.where(random.random((spec.rows, n)) < 0.5, -sizes, sizes)
    order = random.permutation(n)
    ends = np.cumsum([spec.duplicates, spec.duplicates, spec.dead, spec.outliers])
    copies, originals, dead, outliers, _ = np.split(order, ends)
    norms[outliers] *= OUTLIER_SCALE
    norms[dead] = 0.0
    norms[copies] = norms[originals]
    weight[:, copies] = weight[:, originals]
    source = np.arange(n)
    source[copies] = originals
    grams = [_gram(spec, norms, source, stream) for stream in (1, 2)]
    meta = {"family": str(spec), "tokens": str(spec.tokens)}
    for key, columns in (("copies", copies), ("originals", originals), ("dead", dead)):
        if len(columns):
            meta[key] = " ".join(map(str, columns))
    if len(outliers):
        meta["outliers"] = " ".join(map(str, outliers))
    return Layer.from_arrays(weight, grams[0], grams[1], meta, str(spec))


def _gram(spec: Family, norms: Vector, source: NDArray[np.intp], stream: int) -> Matrix:
    """D C D from a stream of random inputs; column j has the inputs of column source[j]."""
    random = np.random.default_rng([spec.seed, stream])
    common = random.standard_normal(spec.tokens)
    own = random.standard_normal((spec.n, spec.tokens))
    inputs = np.sqrt(spec.correlation) * common + np.sqrt(1.0 - spec.correlation) * own
    inputs = np.rint(inputs * 2.0**10) * 2.0**-10
    # A column that rounded to zero (possible at rank 1) would have no norm to divide by.
    inputs[~inputs.any(axis=1), 0] = 2.0**-10
    inputs = inputs[source]
    raw = inputs @ inputs.T
    # sqrt(a * a) is a in IEEE arithmetic: the diagonal and copied columns come out exactly 1.
    unit = raw / np.sqrt(np.outer(raw.diagonal(), raw.diagonal()))
    gram: Matrix = norms[:, None] * unit * norms[None, :]
    return gram


def short(values: Matrix) -> Matrix:
    """Values rounded to 24 bits: beyond the last bits in which libraries' exp may differ."""
    return values.astype(np.float32).astype(np.float64)

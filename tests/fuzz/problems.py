"""A problem from a seed: a pattern of any kind, and a layer of a nasty family that it fits."""

from dataclasses import dataclass

import numpy as np

from maskgap.instances.errors import InputError
from maskgap.instances.layer import Layer
from maskgap.instances.masks.patterns import parse_pattern
from maskgap.instances.problem import Problem
from tests.fuzz.families import FAMILIES, arrays
from tests.helpers.legal_masks import legal_pruned

KINDS = {
    "P%": 0.15, "keep=K": 0.12, "N:M": 0.15, "layer:P%": 0.14, "N:M^T": 0.1, "block": 0.06,
    "cap": 0.06, "windows": 0.05, "cost": 0.07, "forced": 0.05, "joined": 0.05,
}  # fmt: skip
LARGEST = 12
"""Columns of a part."""


@dataclass(frozen=True)
class Drawn:
    """problem: None where the layer or the pattern was refused, for the reason `refusal`."""

    seed: int
    kind: str
    family: str
    pattern: str
    layer: Layer | None
    problem: Problem | None
    refusal: str = ""


def draw(seed, family=None):
    """The problem of a seed."""
    rng = np.random.default_rng([20, seed])
    kind = str(rng.choice(list(KINDS), p=list(KINDS.values())))
    family = family or FAMILIES[int(rng.integers(len(FAMILIES)))]
    pattern, rows, n = _PATTERNS[kind](rng)
    with np.errstate(all="ignore"):  # families overflow on purpose; the door must tell
        weight, gram = arrays(family, rng, rows, n)
    cost = rng.integers(0, 9, n) * 10 ** int(rng.integers(0, 4))
    forced = np.where(rng.random((rows, n)) < 0.2, rng.choice([-1, 1], (rows, n)), 0)
    layer = None
    try:
        layer = Layer.from_arrays(
            weight,
            gram,
            meta={"tokens": "8"},
            name=f"seed {seed}",
            input_mean=np.zeros(n),
            column_cost=cost,
            forced=forced,
        )
        problem = Problem.of(layer, parse_pattern(pattern))
    except InputError as error:
        return Drawn(seed, kind, family, pattern, layer, None, str(error))
    return Drawn(seed, kind, family, pattern, layer, problem)


def refusal_is_right(drawn):
    """Whether a problem that was refused for want of masks has a part without any."""
    if drawn.layer is None or "no mask" not in drawn.refusal:
        return True
    parts = range(drawn.layer.d_out)
    return any(len(legal_pruned(drawn.layer, drawn.pattern, [row])) == 0 for row in parts)


def _columns(rng):
    """Mostly few: their masks are listed and every solver ends at once."""
    return int(min(LARGEST, 1 + rng.geometric(0.15)))


def _percent(rng, choices=("50", "50", "50", "25", "75", "33.3", "10", "90", "0", "100")):
    return f"{rng.choice(choices)}%"


def _share(rng):
    return _percent(rng), int(rng.integers(1, 3)), _columns(rng)


def _keep(rng):
    n = _columns(rng)
    return f"keep={rng.integers(0, n + 1)}", 1, n


def _of_group(rng):
    size = int(rng.choice([1, 2, 3, 4, 4, 4, 6, 8]))
    groups = int(rng.integers(1, LARGEST // size + 1))
    return f"{rng.integers(1, size + 1)}:{size}", int(rng.integers(1, 3)), size * groups


def _layer(rng):
    rows = int(rng.integers(1, 4))
    return "layer:" + _percent(rng), rows, int(rng.integers(1, 10 // rows + 1))


def _tiles(rng):
    size = int(rng.choice([1, 2, 2, 3]))
    tiles = int(rng.integers(1, LARGEST // size**2 + 1))
    return f"{rng.integers(1, size + 1)}:{size}^T", size, size * tiles


def _with(side):
    """Patterns of a row budget and one side constraint."""

    def drawn(rng):
        n = int(rng.choice([4, 6, 8, 8, 9, 10, 12]))
        return f"{_budget(rng, n)};{side(rng, n)}", 1, n

    return drawn


def _budget(rng, n):
    if rng.random() < 0.2:
        return f"keep={rng.integers(0, n + 1)}"
    return _percent(rng, ("50", "50", "33", "67"))


def _divisor(rng, n):
    return int(rng.choice([d for d in range(2, n) if n % d == 0]))


def _block(rng, n):
    return f"block={_divisor(rng, n)}"


def _cap(rng, n):
    size = _divisor(rng, n)
    return f"cap={rng.integers(size // 2, size + 1)}/{size}"


def _windows(rng, n):
    size = int(rng.integers(2, n + 1))
    step = int(rng.choice([d for d in range(1, size + 1) if n % d == 0]))
    return f"cap={rng.integers(size // 2, size + 1)}/{size}+{step}"


def _cost(rng, n):
    return "cost=" + _percent(rng, ("45", "50", "60", "30", "80"))


def _forced(rng, n):
    return "forced"


def _joined(rng, n):
    sides = [side(rng, n) for side in (_block, _cap, _windows, _cost, _forced)]
    chosen = rng.permutation(5)[: int(rng.integers(2, 4))]
    return ";".join(sides[i] for i in sorted(chosen))


_PATTERNS = {
    "P%": _share,
    "keep=K": _keep,
    "N:M": _of_group,
    "layer:P%": _layer,
    "N:M^T": _tiles,
    "block": _with(_block),
    "cap": _with(_cap),
    "windows": _with(_windows),
    "cost": _with(_cost),
    "forced": _with(_forced),
    "joined": _with(_joined),
}

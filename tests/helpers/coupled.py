"""Patterns beyond a budget a row, what they mean by hand, and their masks by plain loops."""

from itertools import product

import numpy as np

from maskgap.instances.layer import Layer
from maskgap.instances.masks.patterns import parse_pattern
from maskgap.instances.problem import Problem
from tests.helpers.tiny import random_layer

COST = [3, 0, 5, 2, 2, 7, 1, 4, 4, 3, 2, 6]
FORCED = [[0, 1, 0, 0, -1, 0, 0, 0, 1, 0, 0, 0], [0] * 12, [-1] * 5 + [0] * 7]


def coupled_layer(height=3, n=12) -> Layer:
    """A random layer with costs and, in its first three rows, forced columns."""
    plain = random_layer(3, n, rows=height)
    forced = np.zeros((height, n), dtype=np.int8)
    if n == 12:
        forced[: len(FORCED)] = FORCED[:height]
    cost = (COST * 2)[:n]
    return Layer.from_arrays(plain.weight, plain.gram, column_cost=cost, forced=forced)


def with_extras(layer, seed) -> Layer:
    """A layer with random costs, and about one in eight columns forced."""
    rng = np.random.default_rng([7, seed])
    forced = np.where(rng.random(layer.weight.shape) < 0.12, rng.choice([-1, 1]), 0)
    cost = rng.integers(1, 9, layer.d_in)
    return Layer.from_arrays(layer.weight, layer.gram, column_cost=cost, forced=forced)


# ---- what the patterns mean, by hand, on the kept columns of a part: lists of 0/1 a row


def _windows(row, size, step):
    return [[row[(s + i) % len(row)] for i in range(size)] for s in range(0, len(row), step)]


def _blocks(row, size):
    return [row[s : s + size] for s in range(0, len(row), size)]


def _whole(row, size):
    return all(len(set(block)) == 1 for block in _blocks(row, size))


def _cost(row):
    return sum(c for c, kept in zip(COST, row, strict=True) if kept)


def _capped(row, kept, size, step):
    return all(sum(window) <= kept for window in _windows(row, size, step))


def _tiled(rows, kept, size):
    columns = list(zip(*rows, strict=True))
    lines = [line for row in rows for line in _blocks(row, size)] + [list(c) for c in columns]
    return all(sum(line) == kept for line in lines)


def _keeps_forced(row, which):
    return all(f == 0 or (f > 0) == bool(m) for f, m in zip(FORCED[which], row, strict=True))


ROWS = {  # patterns of one row of 12 columns
    "50%": lambda row: sum(row) == 6,
    "29%": lambda row: sum(row) == 9,  # 3.48 pruned
    "12.5%": lambda row: sum(row) == 10,  # 1.5 pruned: a half rounds up
    "2:4": lambda row: all(sum(b) == 2 for b in _blocks(row, 4)),
    "50%;block=2": lambda row: sum(row) == 6 and _whole(row, 2),
    "25%;block=2": lambda row: sum(row) == 8 and _whole(row, 2),  # 1.5 blocks: up, so 2
    "keep=9;block=3": lambda row: sum(row) == 9 and _whole(row, 3),
    "50%;cap=3/4": lambda row: sum(row) == 6 and _capped(row, 3, 4, 4),
    "50%;cap=2/4": lambda row: sum(row) == 6 and _capped(row, 2, 4, 4),
    "keep=3;cap=0/4+4;cap=5/12": lambda row: False,
    "keep=4;cap=1/3;cap=2/6": lambda row: (
        sum(row) == 4 and _capped(row, 1, 3, 3) and _capped(row, 2, 6, 6)
    ),
    "50%;cap=3/6+3": lambda row: sum(row) == 6 and _capped(row, 3, 6, 3),
    "keep=5;cap=2/4+2": lambda row: sum(row) == 5 and _capped(row, 2, 4, 2),
    "keep=5;cap=3/4+1;cap=2/3": lambda row: (
        sum(row) == 5 and _capped(row, 3, 4, 1) and _capped(row, 2, 3, 3)
    ),
    "50%;cost=40%": lambda row: sum(row) == 6 and 100 * _cost(row) <= 40 * sum(COST),
    "keep=5;cost=12.5%": lambda row: sum(row) == 5 and 1000 * _cost(row) <= 125 * sum(COST),
    "keep=1;cost=0%": lambda row: sum(row) == 1 and _cost(row) == 0,
    "50%;cost=100%": lambda row: sum(row) == 6,
    "50%;block=2;cost=45%": lambda row: (
        sum(row) == 6 and _whole(row, 2) and 100 * _cost(row) <= 45 * sum(COST)
    ),
    "50%;block=2;cap=2/4": lambda row: sum(row) == 6 and _whole(row, 2) and _capped(row, 2, 4, 4),
    "50%;block=2;cap=3/4": lambda row: sum(row) == 6 and _whole(row, 2) and _capped(row, 3, 4, 4),
    "50%;block=2;cap=2/3": lambda row: sum(row) == 6 and _whole(row, 2) and _capped(row, 2, 3, 3),
    "50%;cap=3/4;cost=45%": lambda row: (
        sum(row) == 6 and _capped(row, 3, 4, 4) and 100 * _cost(row) <= 45 * sum(COST)
    ),
    "keep=0;cap=0/3": lambda row: sum(row) == 0,
}  # fmt: skip

PARTS = {  # patterns of several rows: (rows, columns), what they mean
    "layer:50%": ((2, 6), lambda rows: sum(map(sum, rows)) == 6),
    "layer:29%": ((3, 4), lambda rows: sum(map(sum, rows)) == 9),
    "layer:37.5%": ((2, 6), lambda rows: sum(map(sum, rows)) == 7),  # 4.5 pruned: up, so 5
    "2:4^T": ((4, 4), lambda rows: _tiled(rows, 2, 4)),
    "1:2^T": ((2, 8), lambda rows: _tiled(rows, 1, 2)),
    "2:3^T": ((3, 6), lambda rows: _tiled(rows, 2, 3)),
    "1:3^T": ((3, 3), lambda rows: _tiled(rows, 1, 3)),
    "4:4^T": ((4, 4), lambda rows: _tiled(rows, 4, 4)),
}


def _listed(height, n, legal):
    """Every legal mask (masks, height * n), True = kept, by plain loops."""
    found = []
    for flat in product([0, 1], repeat=height * n):
        rows = [list(flat[r * n : (r + 1) * n]) for r in range(height)]
        if legal(rows):
            found.append(flat)
    return np.array(found, dtype=bool).reshape(-1, height * n)


def _sets():
    """(name, set, its masks by hand) of every pattern, forced rows among them."""
    layer = coupled_layer()
    for text, legal in ROWS.items():
        masks = _listed(1, 12, lambda rows, legal=legal: legal(rows[0]))
        yield text, parse_pattern(text).legal(layer, 1), masks
    for text, (shape, legal) in PARTS.items():
        own = coupled_layer(*shape)
        yield text, parse_pattern(text).legal(own, shape[0]), _listed(*shape, legal)
    for which in range(3):
        for text in ("50%;forced", "50%;cap=3/4;forced", "50%;cost=50%;forced"):
            first = text.removesuffix(";forced")
            masks = _listed(
                1,
                12,
                lambda rows, f=first, w=which: ROWS_OF[f](rows[0]) and _keeps_forced(rows[0], w),
            )
            legal = Problem(layer, parse_pattern(text), range(3)).part_of(which).legal
            yield f"{text} row {which}", legal, masks


ROWS_OF = {**ROWS, "50%;cost=50%": lambda row: sum(row) == 6 and 2 * _cost(row) <= sum(COST)}
SETS = {name: (legal, masks) for name, legal, masks in _sets()}

"""The legal masks of a small part, listed from the meaning of a pattern's text and nothing else.

z = 1 is pruned, m = 1 - z kept. Every 0/1 vector of the part is tried against each clause:

    P%, keep=K      the row prunes floor(n P/100 + 1/2), or keeps K
    layer:P%        the same share of all rows together
    N:M             N kept of each M consecutive columns
    N:M^T           N kept in each row and in each column of each M x M tile
    block=B         B consecutive columns are alike; a share then rounds in blocks
    cap=C/G(+S)     at most C kept of G columns, from every S-th on (G without S), wrapping around
    cost=P%         the kept columns cost at most floor(P/100 of all)
    forced          columns of forced = 1 are kept, of -1 pruned
"""

from fractions import Fraction
from functools import cache
from math import floor

import numpy as np

LARGEST = 16
"""Columns of a part, of all its rows together: 65 536 vectors."""


@cache
def _vectors(count):
    codes = np.arange(1 << count)[:, None]
    return (codes >> np.arange(count)) & 1 == 1


def _share(text):
    return Fraction(text.removesuffix("%")) / 100


def _rounded(value):
    return floor(value + Fraction(1, 2))


def legal_pruned(layer, pattern, rows):
    """(masks, rows * d_in) bool, True = pruned, each legal mask of the part `rows` once."""
    height, n = len(rows), layer.d_in
    if height * n > LARGEST:
        raise ValueError(f"{height * n} columns are too many to list every mask")
    z = _vectors(height * n)
    budget, *sides = pattern.split(";")
    if budget.startswith("layer:"):
        pruned = _rounded(_share(budget.removeprefix("layer:")) * height * n)
        return z[z.sum(axis=1) == pruned]
    if budget.endswith("^T"):
        kept, size = (int(number) for number in budget.removesuffix("^T").split(":"))
        tiles = ~z.reshape(-1, height, n // size, size)
        alike = (tiles.sum(axis=3) == kept).all(axis=(1, 2))
        return z[alike & (tiles.sum(axis=1) == kept).all(axis=(1, 2))]
    if ":" in budget:
        kept, size = (int(number) for number in budget.split(":"))
        return z[((~z).reshape(-1, n // size, size).sum(axis=2) == kept).all(axis=1)]

    block = next((int(side[6:]) for side in sides if side.startswith("block=")), 1)
    if budget.startswith("keep="):
        pruned = n - int(budget.removeprefix("keep="))
    else:
        pruned = block * _rounded(_share(budget) * (n // block))
    legal = z.sum(axis=1) == pruned
    for side in sides:
        legal &= _meets(side, z, layer, rows[0])
    return z[legal]


def _meets(side, z, layer, row):
    """(vectors,) bool: which of them meet one side constraint."""
    n = z.shape[1]
    name, _, value = side.partition("=")
    if name == "block":
        blocks = z.reshape(len(z), -1, int(value))
        return (blocks == blocks[:, :, :1]).all(axis=(1, 2))
    if name == "cap":
        most, _, windows = value.partition("/")
        size, _, step = windows.partition("+")
        starts = range(0, n, int(step or size))
        kept = [sum(~z[:, (start + j) % n] + 0 for j in range(int(size))) for start in starts]
        return (np.array(kept) <= int(most)).all(axis=0)
    if name == "cost":
        most = floor(_share(value) * int(layer.column_cost.sum()))
        return (~z) @ layer.column_cost <= most
    if name == "forced":
        forced = layer.forced[row]
        return ~z[:, forced == 1].any(axis=1) & z[:, forced == -1].all(axis=1)
    raise ValueError(f"'{side}' is not a side constraint")

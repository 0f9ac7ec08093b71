"""Side constraints on a row's budget, written after it: what they mean as integer rows.

With k columns of a row pruned (z = 1), n = d_in and m = 1 - z:

    block=B       columns B t ... B t + B - 1 are kept or pruned together, t = 0, 1, ...
    cap=C/G       at most C kept of each G consecutive columns, in disjoint groups
    cap=C/G+S     the same in windows of G columns that start every S columns and wrap around
    cost=P%       the kept columns cost at most P % of all: sum c_j m_j <= floor(P/100 sum c_j),
                  c the layer's tensor `column_cost`, whole numbers (bytes, latency classes)
    forced        columns that the layer's tensor `forced` says (1 keep, -1 prune) are so

Budgets in blocks count blocks: floor(share * n / B + 1/2) of them are pruned.

Disjoint groups and budget: each column is in two nested rows, a laminar family. Windows that do
not wrap are intervals. Both matrices are totally unimodular, as are blocks once contracted, so the
relaxation is the hull. Windows that wrap, and costs, are not: there the hull can be smaller.
"""

import re
from dataclasses import dataclass
from fractions import Fraction
from math import floor

import numpy as np
from numpy.typing import NDArray

from instances.errors import InputError
from instances.groups import BudgetGroups
from instances.layer import Layer
from instances.sets.blocks import BlockRule
from instances.sets.costs import CostRule
from instances.sets.linear import LinearSet, MixedInteger, Rule
from instances.sets.rows import FREE, KEPT, PRUNED, LinearRows

CONSTRAINT_FORMS = (
    "';block=B' (B consecutive columns together), ';cap=C/G' or ';cap=C/G+S' (at most C kept of G "
    "columns, every S), ';cost=P%' (share of column_cost kept), ';forced' (the layer's tensor)"
)


@dataclass(frozen=True, slots=True)
class Cap:
    """At most `kept` of each window of `size` columns, one every `step` columns."""

    kept: int
    size: int
    step: int


@dataclass(frozen=True, slots=True)
class Constraints:
    """Side constraints. block: 1 for none. cost: share of the cost kept, None for none."""

    block: int = 1
    caps: tuple[Cap, ...] = ()
    cost: Fraction | None = None
    forced: bool = False


def parse_constraints(text: str) -> Constraints | None:
    """Constraints separated by semicolons, or None where one is not of the forms."""
    block, caps, cost, forced = 1, [], None, False
    for part in text.split(";"):
        if part == "forced" and not forced:
            forced = True
        elif (match := re.fullmatch(r"block=([1-9][0-9]{0,8})", part)) and block == 1:
            block = int(match[1])
        elif match := re.fullmatch(
            r"cap=([0-9]{1,9})/([1-9][0-9]{0,8})(?:\+([1-9][0-9]{0,8}))?", part
        ):
            kept, size, step = int(match[1]), int(match[2]), int(match[3] or match[2])
            if not (kept <= size and step <= size):
                return None
            caps.append(Cap(kept, size, step))
        elif (match := re.fullmatch(r"cost=([0-9]+(?:\.[0-9]+)?)%", part)) and cost is None:
            cost = Fraction(match[1]) / 100
            if cost > 1:
                return None
        else:
            return None
    return Constraints(block, tuple(caps), cost, forced)


def constrained(
    text: str,
    budget: BudgetGroups,
    share: Fraction | None,
    constraints: Constraints,
    layer: Layer,
    rows: range,
) -> LinearSet:
    """The masks of one row. share: of the row pruned, None where the budget counts columns.

    Raises InputError for what the layer cannot have.
    """
    n, block = layer.d_in, constraints.block
    if n % block:
        raise InputError(f"pattern '{text}' needs d_in divisible by {block}, but d_in is {n}")
    pruned = budget.pruned
    if block > 1:
        blocks = _blocks_pruned(text, budget, share, block)
        pruned = blocks * block
    systems = [(np.ones((1, n), dtype=np.int64), pruned, pruned)]
    if block > 1:
        ties = np.zeros((n - n // block, n), dtype=np.int64)
        first = [j for j in range(n) if (j + 1) % block]
        ties[np.arange(len(first)), first] = 1
        ties[np.arange(len(first)), np.array(first) + 1] = -1
        systems.append((ties, 0, 0))
    for cap in constraints.caps:
        windows = _windows(text, cap, n)
        systems.append((windows, cap.size - cap.kept, cap.size))
    least = 0
    if constraints.cost is not None:
        cost = _costs(text, layer)
        least = int(cost.sum()) - floor(constraints.cost * int(cost.sum()))
        systems.append((cost[None, :], least, int(cost.sum())))
    state = np.full(n, FREE, dtype=np.int8)
    if constraints.forced:
        if layer.forced is None:
            raise InputError(
                f"{layer.name}: pattern '{text}' needs a tensor 'forced' (d_out, d_in) of -1, 0, 1"
            )
        row = layer.forced[rows.start]
        state[row > 0], state[row < 0] = KEPT, PRUNED

    wraps = any(cap.step != cap.size for cap in constraints.caps)
    integral = constraints.cost is None and not wraps and not (block > 1 and constraints.caps)
    rule: Rule = MixedInteger()
    if not constraints.caps and constraints.cost is not None and block == 1:
        rule = CostRule(cost, pruned, least)
    elif not constraints.caps and constraints.cost is None:
        rule = BlockRule(block, pruned // block)
    system = LinearRows(
        np.concatenate([matrix for matrix, _, _ in systems]),
        np.concatenate([np.full(len(matrix), low, np.int64) for matrix, low, _ in systems]),
        np.concatenate([np.full(len(matrix), high, np.int64) for matrix, _, high in systems]),
        state,
    )
    return LinearSet(system, pruned, integral, rule)


def _blocks_pruned(text: str, budget: BudgetGroups, share: Fraction | None, block: int) -> int:
    """Blocks to prune; a share rounds in blocks, a number of columns must be made of them."""
    if share is not None:
        return floor(share * (budget.n // block) + Fraction(1, 2))
    if budget.kept % block:
        raise InputError(
            f"pattern '{text}' keeps {budget.kept} columns, which are no blocks of {block}"
        )
    return budget.pruned // block


def _windows(text: str, cap: Cap, n: int) -> NDArray[np.int64]:
    """Windows of a cap as 0/1 rows; those past the end go on at the start."""
    if cap.size > n or n % cap.step:
        raise InputError(
            f"pattern '{text}' needs windows of at most {n} columns that start every S columns "
            f"with S dividing {n}, but they have {cap.size} and start every {cap.step}"
        )
    starts = np.arange(0, n, cap.step)
    windows = np.zeros((len(starts), n), dtype=np.int64)
    columns = (starts[:, None] + np.arange(cap.size)) % n
    np.put_along_axis(windows, columns, 1, axis=1)
    return windows


def _costs(text: str, layer: Layer) -> NDArray[np.int64]:
    if layer.column_cost is None:
        raise InputError(
            f"{layer.name}: pattern '{text}' needs a tensor 'column_cost' (d_in,) of whole numbers"
        )
    return layer.column_cost

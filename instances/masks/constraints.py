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
from collections.abc import Sequence
from dataclasses import dataclass
from fractions import Fraction
from math import floor

import numpy as np
import scipy.sparse
from numpy.typing import NDArray

from maskgap.instances.errors import InputError
from maskgap.instances.layer import Layer
from maskgap.instances.masks.blocks import BlockRule, contract
from maskgap.instances.masks.budgets import BudgetRule
from maskgap.instances.masks.costs import CostRule
from maskgap.instances.masks.groups import BudgetGroups
from maskgap.instances.masks.linear import LinearSet, MixedInteger, Rule
from maskgap.instances.masks.rows import LinearRows
from maskgap.instances.masks.state import FREE, KEPT, PRUNED, States

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
        elif (
            match := re.fullmatch(r"cost=([0-9]{1,3}(?:\.[0-9]{1,30})?)%", part)
        ) and cost is None:
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
) -> LinearSet:
    """The masks of a row, none forced. share: of it pruned, None where the budget counts columns.

    Raises InputError for what the layer cannot have.
    """
    n, block = layer.d_in, constraints.block
    if n % block:
        raise InputError(f"pattern '{text}' needs d_in divisible by {block}, but d_in is {n}")
    pruned = budget.pruned if block == 1 else block * _blocks_pruned(text, budget, share, block)
    systems = [_System(scipy.sparse.csr_matrix(np.ones((1, n), dtype=np.int64)), pruned, pruned)]
    systems += [
        _System(_windows(text, cap, n), cap.size - cap.kept, cap.size) for cap in constraints.caps
    ]
    cost, least = None, 0
    if constraints.cost is not None:
        cost = _costs(text, layer)
        least = int(cost.sum()) - floor(constraints.cost * int(cost.sum()))
        systems.append(_System(scipy.sparse.csr_matrix(cost[None, :]), least, int(cost.sum())))

    overlap = any(cap.step != cap.size for cap in constraints.caps)
    integral = cost is None and not overlap and not (block > 1 and constraints.caps)
    if block == 1:
        rule = _rule(constraints.caps, cost, n, pruned, least)
        return LinearSet(_stack(systems, n), pruned, integral, rule)
    caps = tuple(_of_blocks(cap, block) for cap in constraints.caps)
    sums = None if cost is None else cost.reshape(-1, block).sum(axis=1)
    inner = _rule(caps, sums, n // block, pruned // block, least)
    over_blocks = contract(_stack(systems, n), block)
    systems.insert(1, _System(_ties(n, block), 0, 0))
    of_blocks = BlockRule(block, inner, over_blocks)
    return LinearSet(_stack(systems, n), pruned, integral, of_blocks, block)


@dataclass(frozen=True, slots=True)
class _System:
    """Rows with the same sides."""

    matrix: scipy.sparse.csr_matrix
    lower: int
    upper: int


def _stack(systems: Sequence[_System], n: int) -> LinearRows:
    """All of them, with every column free."""

    def sides(name: str) -> NDArray[np.int64]:
        values = [np.full(s.matrix.shape[0], getattr(s, name), np.int64) for s in systems]
        return np.concatenate(values)

    matrix = scipy.sparse.csr_matrix(scipy.sparse.vstack([s.matrix for s in systems]))
    return LinearRows(matrix, sides("lower"), sides("upper"), np.full(n, FREE, dtype=np.int8))


def _rule(
    caps: tuple[Cap | None, ...], cost: NDArray[np.int64] | None, n: int, pruned: int, least: int
) -> Rule:
    """The oracle that suits the constraints; a cap is None where it cuts blocks."""
    if not caps and cost is None:
        return BudgetRule(pruned, n)
    if not caps and cost is not None:
        return CostRule.of(cost, pruned, least)
    cap = caps[0]
    if cost is None and len(caps) == 1 and cap is not None and cap.step == cap.size:
        return BudgetRule(pruned, cap.size, cap.size - cap.kept)
    return MixedInteger()


def _of_blocks(cap: Cap, block: int) -> Cap | None:
    """A cap on columns as one on blocks; None where its windows cut blocks."""
    if cap.size % block or cap.step % block:
        return None
    return Cap(cap.kept // block, cap.size // block, cap.step // block)


def _ties(n: int, block: int) -> scipy.sparse.csr_matrix:
    """A row z_j - z_{j+1} for each pair of neighbours in a block."""
    first = np.flatnonzero((np.arange(n) + 1) % block)
    at = np.arange(len(first))
    entries = np.repeat(np.array([1, -1], dtype=np.int64), len(first))
    places = np.tile(at, 2), np.concatenate([first, first + 1])
    return scipy.sparse.csr_matrix((entries, places), shape=(len(first), n))


def forced_columns(text: str, layer: Layer, row: int) -> States:
    """(d_in,) states of the columns of a row. Raises InputError where the layer has none."""
    if layer.forced is None:
        raise InputError(
            f"pattern '{text}' needs a tensor 'forced' {layer.weight.shape} in the layer file, of "
            "-1 (pruned), 0 and 1 (kept)"
        )
    values = layer.forced[row]
    return np.where(values > 0, KEPT, np.where(values < 0, PRUNED, FREE)).astype(np.int8)


def _blocks_pruned(text: str, budget: BudgetGroups, share: Fraction | None, block: int) -> int:
    """Blocks to prune; a share rounds in blocks, a number of columns must be made of them."""
    if share is not None:
        return floor(share * (budget.n // block) + Fraction(1, 2))
    if budget.kept % block:
        raise InputError(
            f"pattern '{text}' keeps {budget.kept} columns, which are no blocks of {block}"
        )
    return budget.pruned // block


def _windows(text: str, cap: Cap, n: int) -> scipy.sparse.csr_matrix:
    """Windows of a cap as 0/1 rows; those past the end go on at the start."""
    if cap.size > n or n % cap.step:
        raise InputError(
            f"pattern '{text}' needs windows of at most {n} columns that start every S columns "
            f"with S dividing {n}, but they have {cap.size} and start every {cap.step}"
        )
    starts = np.arange(0, n, cap.step)
    columns = (starts[:, None] + np.arange(cap.size)) % n
    entries = np.ones(columns.size, dtype=np.int64)
    places = np.repeat(np.arange(len(starts)), cap.size), columns.reshape(-1)
    return scipy.sparse.csr_matrix((entries, places), shape=(len(starts), n))


def _costs(text: str, layer: Layer) -> NDArray[np.int64]:
    if layer.column_cost is None:
        raise InputError(
            f"pattern '{text}' needs a tensor 'column_cost' ({layer.d_in},) of whole numbers in "
            "the layer file"
        )
    return layer.column_cost

"""Budgets are exact, legal sets are what they say, and the oracle minimises over them."""

import re
from dataclasses import dataclass
from itertools import pairwise, product
from math import comb
from typing import ClassVar

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.sparse import csr_matrix

from maskgap.benchmarks.verify.certificate import Verdict, certify_part
from maskgap.instances.errors import InputError
from maskgap.instances.masks import patterns
from maskgap.instances.masks.groups import BudgetGroups
from maskgap.instances.masks.linear import LinearSet
from maskgap.instances.masks.pattern import Pattern
from maskgap.instances.masks.patterns import FORMS, PATTERNS, parse_pattern
from maskgap.instances.masks.rows import LinearRows
from maskgap.instances.problem import Problem
from maskgap.solvers.protocol import Deadline, Limits, solve_part
from maskgap.solvers.tree.bnb import FwBnb
from maskgap.solvers.tree.exhaustive import Exhaustive
from tests.helpers.tiny import legal_pruned_sets, random_layer


@pytest.mark.parametrize(
    ("d_in", "text", "pruned"),
    [
        (100, "29%", 29),
        (50, "58%", 29),
        (100, "57%", 57),
        (10, "90%", 9),
        (20, "80%", 16),
        (4, "0%", 0),
        (4, "100%", 4),
        (5, "90%", 5),  # 4.5: a half rounds up
        (1000, "12.5%", 125),
        (7, "keep=0", 7),
        (7, "keep=7", 0),
        (8, "2:4", 4),
        (8, "1:4", 6),
        (8, "4:4", 0),
    ],
)
def test_pruned_columns_are_exact(d_in, text, pruned):
    groups = parse_pattern(text).row_groups(d_in)
    assert groups.total_pruned == pruned
    assert (~groups.prune_lowest(np.zeros(d_in))).sum() == pruned


@pytest.mark.parametrize(
    "text",
    ["", "50", "0.5", "-1%", "101%", "100.1%", "keep=-1", "keep=", "0:4", "5:4", "2:", "2:4:8",
     " 2:4", "50 %", "layer", "nan%", "1e1%", "٣:٤"],
)  # fmt: skip
def test_anything_else_is_an_error_that_names_the_forms(text):
    with pytest.raises(InputError, match="'N:M'"):
        parse_pattern(text)


def test_a_number_is_refused_with_a_hint_to_quote():
    with pytest.raises(InputError, match="quotes"):
        parse_pattern(124)


@pytest.mark.parametrize("d_in", [5, 6])
def test_group_size_must_divide_the_columns(d_in):
    with pytest.raises(InputError, match=f"d_in is {d_in}"):
        parse_pattern("2:4").row_groups(d_in)


def test_keep_beyond_the_row_is_an_error():
    with pytest.raises(InputError, match="keeps 9 columns"):
        parse_pattern("keep=9").row_groups(8)


def test_n_of_m_keeps_n():
    keeps = [parse_pattern(t).row_groups(4).prune_lowest(np.arange(4.0)) for t in ("1:4", "3:4")]
    assert [list(np.flatnonzero(mask)) for mask in keeps] == [[3], [1, 2, 3]]


@pytest.mark.parametrize("n", [8, 16, 17, 64, 1000])
def test_ties_prune_the_lowest_columns_alone_or_in_a_batch(n):
    groups = BudgetGroups(n, n, 3)
    alone = groups.prune_lowest(np.zeros(n))
    batch = groups.prune_lowest(np.zeros((5, n)))
    assert list(np.flatnonzero(~alone)) == [0, 1, 2]
    assert (batch == alone).all()


def test_tied_scores_prune_exactly_the_budget():
    assert (~BudgetGroups(6, 6, 2).prune_lowest(np.array([1.0, 1, 1, 1, 2, 2]))).sum() == 2
    assert (~BudgetGroups(10, 10, 5).prune_lowest(np.arange(10.0))).sum() == 5


@given(st.data())
def test_enumeration_lists_every_legal_set_once(data):
    size = data.draw(st.integers(1, 6))
    count = data.draw(st.integers(1, 12 // size))
    pruned = data.draw(st.integers(0, size))
    groups = BudgetGroups(size * count, size, pruned)
    listed = np.concatenate(list(groups.enumerate_pruned(chunk=7)))
    assert len(listed) == groups.masks == comb(size, pruned) ** count
    found = {tuple(np.flatnonzero(z)) for z in listed}
    assert found == set(legal_pruned_sets(groups.n, size, pruned))
    assert groups.is_legal(~listed)


@given(st.data())
def test_oracle_equals_enumeration_with_random_forced_entries(data):
    size = data.draw(st.integers(1, 5))
    groups = BudgetGroups(
        size * data.draw(st.integers(1, 2)), size, data.draw(st.integers(0, size))
    )
    rng = np.random.default_rng(data.draw(st.integers(0, 2**32 - 1)))
    gradient = rng.choice([-1.0, -0.0, 0.0, 1.0, 2.5], size=groups.n)  # ties on purpose
    kind = rng.choice(["free", "pruned", "kept"], size=groups.n, p=[0.6, 0.2, 0.2])
    ones, zeros = kind == "pruned", kind == "kept"
    legal = np.concatenate(list(groups.enumerate_pruned()))
    legal = legal[(legal | ~ones).all(axis=1) & (~legal | ~zeros).all(axis=1)]
    vertex = groups.oracle(gradient, ones, zeros)
    if len(legal) == 0:
        assert vertex is None
        return
    assert vertex is not None
    assert groups.is_legal(~vertex)
    assert (vertex >= ones).all()
    assert not (vertex & zeros).any()
    assert gradient[vertex].sum() == (legal @ gradient).min()


@pytest.mark.parametrize("gradient", [[0.0] * 4, [1.0, 1, -1, -1], [-0.0, 0.0, 1, 2]])
@pytest.mark.parametrize("pruned", range(5))
def test_oracle_on_ties_and_signs(gradient, pruned):
    groups = BudgetGroups(4, 4, pruned)
    vertex = groups.oracle(np.array(gradient))
    losses = [sum(gradient[j] for j in s) for s in legal_pruned_sets(4, 4, pruned)]
    assert np.array(gradient)[vertex].sum() == min(losses)


def test_entries_forced_both_ways_leave_nothing():
    both = np.array([True, False])
    assert BudgetGroups(2, 2, 1).oracle(np.zeros(2), both, both) is None


@pytest.mark.parametrize("kind", PATTERNS)
def test_each_kind_says_how_it_is_written(kind):
    assert kind.form
    assert kind.says in FORMS
    assert not (kind.equal_rows and kind.coupled)


@pytest.mark.parametrize(
    ("one", "other", "same"),
    [
        ("50%", "50.0%", True),
        ("50%", "51%", False),
        ("50%", "layer:50%", False),
        ("2:4", "2:4^T", False),
        ("2:4", "1:2", False),
        ("50%;cap=3/4", "50.00%;cap=3/4+4", True),
        ("50%;cap=3/4", "50%;cap=3/4+2", False),
        ("50%;forced", "50%", False),
        ("keep=2;block=2", "keep=4;block=2", False),
    ],
)
def test_patterns_mean_the_same_whichever_way_they_are_written(one, other, same):
    assert (parse_pattern(one).meaning == parse_pattern(other).meaning) == same


@dataclass(frozen=True, slots=True)
class Spread(Pattern):
    """`spread=K`: K kept, no two of them neighbours. Known to nothing but this file."""

    form: ClassVar[str] = "spread=K"
    says: ClassVar[str] = "'spread=K' (K kept, no two of them neighbours)"

    keep: int

    @classmethod
    def read(cls, text):
        match = re.fullmatch(r"spread=([0-9]{1,9})", text)
        return cls(text, int(match[1])) if match else None

    def legal(self, layer, height):
        n = layer.d_in
        pairs = np.eye(n, dtype=np.int64)[:-1] + np.eye(n, k=1, dtype=np.int64)[:-1]
        system = csr_matrix(np.concatenate([np.ones((1, n), dtype=np.int64), pairs]))
        least = np.array([n - self.keep] + [1] * (n - 1))
        most = np.array([n - self.keep] + [2] * (n - 1))
        return LinearSet(
            LinearRows(system, least, most, np.zeros(n, np.int8)), n - self.keep, False
        )


def test_a_pattern_that_nothing_else_knows_is_read_solved_and_proved(monkeypatch):
    monkeypatch.setattr(patterns, "PATTERNS", (*PATTERNS, Spread))
    layer = random_layer(5, 9)
    problem = Problem.of(layer, parse_pattern("spread=4"))
    (part,) = problem
    masks = [m for m in product([False, True], repeat=9)
             if sum(m) == 4 and not any(a and b for a, b in pairwise(m))]  # fmt: skip
    assert len(masks) == part.legal.masks == 15
    best = min(part.loss(np.array(mask)) for mask in masks)
    for solver in (Exhaustive(), FwBnb()):
        answer = solve_part(solver, part, Limits(Deadline(60.0)), 0)
        certificate = certify_part(part, answer.mask, proof=answer.proof)
        assert certificate.verdict is Verdict.PROVED
        assert certificate.objective == pytest.approx(best, rel=1e-9)
    with pytest.raises(InputError, match="no mask meets all of 'spread=6'"):
        Problem.of(layer, parse_pattern("spread=6"))

"""What a solver may hand over in place of a proof: its row has no bound, and nothing else fails."""

from dataclasses import replace

import numpy as np
import pytest

from maskgap.benchmarks.verify.certificate import BoundKind, Verdict, certify_part
from maskgap.instances.convex_function import ConvexFunction
from maskgap.instances.formats.evidence.leaves import Leaves
from maskgap.instances.formats.evidence.shared_budget import RowProof, SharedBudget
from maskgap.instances.formats.evidence.shared_shift import SharedShift
from maskgap.instances.triangles import Triangles
from tests.helpers.hostile import rooted, row_of
from tests.helpers.tiny import random_layer


class Odd:
    """Neither a number, nor an array, nor a proof."""


class Novel(Leaves):
    """Evidence of a kind that nobody checks."""

    def __init__(self):
        pass


PART = row_of(random_layer(9, 6), "keep=3")
GOOD = rooted(PART, ConvexFunction(np.full(6, -0.5), np.zeros((1, 6))), np.full(6, 0.5))
ARRAYS = ("branch", "function", "point", "points")


def _with_leaves(**changes):
    return replace(GOOD, evidence=replace(GOOD.evidence, **changes))


def _with_function(**changes):
    return _with_leaves(functions=(replace(GOOD.evidence.functions[0], **changes),))


def _with_triangle(columns, apex=(0,), weight=(1.0,)):
    columns, apex = np.array([columns], np.int32), np.array(apex, np.int16)
    return _with_function(triangles=Triangles(columns, apex, np.array(weight)))


ODD = [
    Odd(),
    "a proof",
    replace(GOOD, bound="nan"),
    replace(GOOD, bound=None),
    replace(GOOD, bound=10**400),
    replace(GOOD, evidence="leaves"),
    replace(GOOD, evidence=Leaves),
    replace(GOOD, evidence=Novel()),
    replace(GOOD, mask=[True] * 6),
    replace(GOOD, mask=np.ones((6, 6), bool)),
    replace(GOOD, mask=np.ones(6)),
    replace(GOOD, evidence=None),
    replace(GOOD, evidence=Odd()),
    replace(GOOD, evidence=GOOD),
    replace(GOOD, row="0"),
    replace(GOOD, height=0),
    replace(GOOD, passes="many"),
    *(replace(GOOD, evidence=SharedBudget(rows)) for rows in (None, GOOD, (GOOD,), [])),
    replace(GOOD, evidence=SharedBudget((RowProof("3", GOOD),))),
    replace(GOOD, evidence=SharedShift(None, np.zeros(6, np.float32))),
    replace(GOOD, evidence=SharedShift(np.zeros(6), np.zeros(5, np.float32))),
    *(_with_leaves(**{name: value}) for name in ARRAYS for value in (None, [0], Odd())),
    *(_with_leaves(**{name: np.array(0, "f4")}) for name in ARRAYS),
    *(_with_leaves(**{name: np.zeros((1, 1, 1), "i4")}) for name in ARRAYS),
    *(_with_leaves(**{name: np.array([Odd()], object)}) for name in ARRAYS),
    _with_leaves(functions=()),
    _with_leaves(functions=(), function=np.array([-1], np.int16)),
    _with_leaves(functions=[GOOD.evidence.functions[0]]),
    _with_leaves(functions=(Odd(),)),
    _with_leaves(branch=np.zeros(0, np.int32)),
    _with_leaves(branch=np.array([-2], np.int32)),
    _with_leaves(branch=np.array([6, -1, -1], np.int32)),
    _with_leaves(branch=np.array([0, 0, -1, -1, -1], np.int32)),
    _with_leaves(branch=np.array([-1, -1], np.int32)),
    _with_leaves(branch=np.array([0, -1], np.int32)),
    _with_leaves(point=np.array([-1], np.int32)),
    _with_leaves(point=np.array([1], np.int32)),
    _with_leaves(function=np.array([1], np.int16)),
    _with_leaves(function=np.array([-2], np.int16)),
    *(_with_function(**{name: value}) for name in ("u", "alpha") for value in (None, [0.0], Odd())),
    _with_function(u=np.full(6, -0.5 + 0j)),
    _with_function(u=np.full(6, "x")),
    _with_function(u=np.zeros(5)),
    _with_function(alpha=np.zeros((0, 6))),
    _with_function(alpha=np.zeros((2, 6))),
    _with_function(alpha=np.zeros(6)),
    _with_function(triangles=None),
    _with_triangle([0, 0, 0]),
    _with_triangle([0, 1]),
    _with_triangle([-2, 0, 1]),
    _with_triangle([0, 1, 6]),
    _with_triangle([0, 1, 2], apex=(3,)),
    _with_triangle([0, 1, 2], apex=(0, 0)),
    _with_triangle([0, 1, 2], weight=(-1.0,)),
    _with_triangle([0, 1, 2], weight=(1.0, 1.0)),
]  # fmt: skip


def test_the_proof_that_the_odd_ones_are_made_of_holds():
    assert certify_part(PART, None, proof=GOOD).bound_kind is BoundKind.CHECKED


@pytest.mark.parametrize("number", range(len(ODD)))
def test_a_malformed_proof_of_a_solver_is_a_row_without_a_bound(number):
    found = certify_part(PART, PART.legal.prune_lowest(PART.weight**2), proof=ODD[number])
    assert found.bound_kind is BoundKind.TRIVIAL
    assert found.bound == 0.0
    assert found.verdict is Verdict.FEASIBLE
    assert found.reason.startswith("proof rejected")

"""The second checker: known answers, honest proofs of every kind, and what it rejects.

On honest proofs it agrees with the program's checker on acceptance, and its bound is never below.
"""

from dataclasses import replace
from fractions import Fraction
from functools import cache

import numpy as np
import pytest

from maskgap.benchmarks.layers.shared_budget import SharedBudgetBound
from maskgap.benchmarks.runs.task import RunLimits
from maskgap.benchmarks.verify.check import check_part
from maskgap.instances.convex_function import ConvexFunction
from maskgap.instances.errors import InputError
from maskgap.instances.formats.evidence.leaves import equality_rows, root_leaves
from maskgap.instances.formats.evidence.shared_budget import RowProof, SharedBudget
from maskgap.instances.formats.evidence.shared_shift import SharedShift
from maskgap.instances.formats.proof import PartProof
from maskgap.instances.masks.groups import BudgetGroups
from maskgap.instances.masks.patterns import parse_pattern
from maskgap.instances.problem import Part, Problem
from maskgap.instances.triangles import Triangles
from maskgap.solvers import registry
from maskgap.solvers.bounds.relaxations import SdpBound
from maskgap.solvers.protocol import Deadline, Limits, solve_part
from tests.helpers.exact import losses, quadratic, semidefinite, whole
from tests.helpers.exact_checker import exact_bound
from tests.helpers.exact_functions import Rejected, function_of
from tests.helpers.general import SHAPES, layer_with_extras
from tests.helpers.legal_masks import legal_pruned
from tests.helpers.proofs import random_functions, random_tree, row_proof, triangle_term
from tests.helpers.tiny import I1_GRAM, I1_WEIGHT, I2_GRAM, I2_WEIGHT, random_layer, row_problem

PATTERNS = {**SHAPES, "50%": (2, 8), "2:4": (2, 8), "keep=3": (2, 8), "100%": (2, 5)}
SOLVERS = {
    "tree": ("fw-bnb", {}),
    "few nodes": ("fw-bnb", {"convexify": "eig", "max_nodes": 4, "triangle_nodes": 0}),
    "triangles": ("sdp-bound", {"triangle_rounds": 3}),
    "relaxation": ("qp-bound", {}),
    "shift": ("shift-bound", {}),
    "list": ("exhaustive", {}),
}
LIMITS = Limits(Deadline(1e6))
TAKEN = [
    (pattern, solver)
    for pattern in PATTERNS
    for solver, (name, _) in SOLVERS.items()
    if registry.refusal(registry.spec_of(name), parse_pattern(pattern)) is None
]


@cache
def part_of(pattern):
    """A part with masks, and they."""
    for seed in range(1, 9):
        try:
            part = next(
                iter(
                    Problem.of(layer_with_extras(seed, *PATTERNS[pattern]), parse_pattern(pattern))
                )
            )
        except InputError:
            continue
        return part, legal_pruned(part.layer, pattern, part.rows)
    raise AssertionError(pattern)


def proof_by(solver, part):
    name, settings = SOLVERS[solver]
    built = registry.build(name, settings)
    if not registry.spec_of(name).batched:
        return solve_part(built, part, LIMITS, 0).proof
    (answer,) = built.solve_rows(
        Problem.of(part.layer, parse_pattern(part.pattern), part.rows), LIMITS, 0
    )
    return answer.proof


@pytest.mark.parametrize("pattern", PATTERNS)
def test_the_masks_are_those_of_the_pattern(pattern):
    part, pruned = part_of(pattern)
    theirs = np.concatenate(list(part.legal.enumerate_pruned()))
    assert {mask.tobytes() for mask in pruned} == {mask.tobytes() for mask in theirs}
    assert len(pruned) == len(theirs) == part.legal.masks


@pytest.mark.parametrize(("pattern", "solver"), TAKEN)
def test_both_checkers_accept_honest_proofs(pattern, solver):
    part, pruned = part_of(pattern)
    proof = proof_by(solver, part)
    bound = exact_bound(part, pruned, proof)
    assert check_part(part, proof).bound <= bound <= min(losses(part, pruned))


@pytest.mark.parametrize("seed", range(6))
@pytest.mark.parametrize("pattern", ["50%", "2:4"])
def test_both_checkers_accept_random_trees(pattern, seed):
    part = Problem.of(random_layer(seed, 8), parse_pattern(pattern)).part_of(0)
    rng = np.random.default_rng(seed)
    functions = tuple(
        replace(function, triangles=few_triangles(rng))
        for function in random_functions(part, rng, 2)
    )
    raised = tuple(replace(f, u=f.u - 0.02) for f in functions)  # room for the triangles
    proof = row_proof(part, random_tree(part, rng, raised))
    pruned = legal_pruned(part.layer, pattern, part.rows)
    bound = exact_bound(part, pruned, proof)
    assert check_part(part, proof).bound <= bound <= min(losses(part, pruned))


def few_triangles(rng, n=8, count=5):
    columns = np.sort([rng.choice(np.arange(-1, n), 3, replace=False) for _ in range(count)])
    apex = rng.integers(-1, 3, count)
    return Triangles(columns.astype(np.int32), apex.astype(np.int16), rng.uniform(0, 0.005, count))


@pytest.mark.parametrize("rounds", [0, 2])
def test_both_checkers_accept_shared_budgets(rounds):
    layer, pattern = random_layer(5, 5, rows=2), parse_pattern("layer:40%")
    (part,) = Problem.of(layer, pattern)
    rows = tuple(row_of_budget(layer, row, 1 + row, rounds) for row in range(2))
    proof = PartProof(0, part.digest, 0.0, None, SharedBudget(rows), height=2)
    pruned = legal_pruned(layer, "layer:40%", part.rows)
    bound, optimum = exact_bound(part, pruned, proof), min(losses(part, pruned))
    assert 0.1 * optimum < check_part(part, proof).bound <= bound <= optimum


def row_of_budget(layer, row, budget, rounds=0):
    """A proof of one row that prunes `budget` columns."""
    n = layer.d_in
    problem = Part(layer, row, f"keep={n - budget}", BudgetGroups(n, n, budget))
    proof = solve_part(SdpBound(beside=True, triangle_rounds=rounds), problem, LIMITS, 0).proof
    return RowProof(budget, replace(proof, bound=0.0, mask=None))


def test_both_checkers_accept_the_work_on_a_shared_budget():
    layer = random_layer(3, 5, rows=3)
    work = SharedBudgetBound(
        Problem.of(layer, parse_pattern("layer:50%")), RunLimits(600.0), runs=9
    )
    for _ in work:
        pass
    (proof,) = work.proofs()
    pruned = legal_pruned(layer, "layer:50%", range(3))
    bound = exact_bound(work.part, pruned, proof)
    assert check_part(work.part, proof).bound <= bound <= min(losses(work.part, pruned))


# ---- known answers

EVEN = row_problem(np.ones((1, 4)), np.eye(4), "keep=2")
"""Q = I: every mask of two pruned columns has the loss 2."""


def even_proof(**changes):
    """A proof with u = 1 in units of the layer's loss: P = 0 and F(z) = sum of z."""
    function = ConvexFunction(np.full(4, 0.5**EVEN.exponent), np.zeros((1, 4)))
    leaves = root_leaves(function, np.full(4, 0.5))
    return replace(row_proof(EVEN, leaves), **changes)


@pytest.mark.parametrize(
    ("weight", "gram", "optimum"), [(I1_WEIGHT, I1_GRAM, 20), (I2_WEIGHT, I2_GRAM, 34)]
)
def test_losses_are_those_found_by_hand(weight, gram, optimum):
    part = row_problem(weight, gram, "keep=2")
    assert min(losses(part, legal_pruned(part.layer, "keep=2", range(1)))) == optimum


def test_negative_rows_count_as_nothing():
    gram = np.array([[1.0, -1.0 - 2.0**-20], [-1.0 - 2.0**-20, 1.0]])
    part = row_problem(np.ones((1, 2)), gram, "keep=0")
    assert losses(part, np.ones((1, 2), bool)) == [0]


def test_bounds_are_those_found_by_hand():
    pruned = legal_pruned(EVEN.layer, "keep=2", range(1))
    assert exact_bound(EVEN, pruned, even_proof(bound=2.0)) == 2
    shared = SharedShift(np.ones(4), np.zeros(4, np.float32))
    shift = PartProof(0, EVEN.digest, 2.0, None, shared)
    assert exact_bound(EVEN, pruned, shift) == 2
    low = replace(shift, bound=0.0, evidence=replace(shared, shift=np.full(4, 0.75)))
    assert exact_bound(EVEN, pruned, low) == Fraction(3, 2)  # at x = 0: sum of u z
    middle = replace(low, evidence=replace(low.evidence, point=np.full(4, 0.5, np.float32)))
    assert exact_bound(EVEN, pruned, middle) == Fraction(7, 4)  # F(x) = 1/4 + 3/2, grad even


@pytest.mark.parametrize("apex", [-1, 0, 1, 2])
@pytest.mark.parametrize("columns", [(-1, 1, 3), (0, 2, 3)])
def test_functions_lie_under_the_loss_by_their_triangles(columns, apex):
    part = row_problem(I1_WEIGHT, I1_GRAM, "keep=2")
    rng, unit = np.random.default_rng(0), Fraction(2) ** part.exponent
    triangles = Triangles(
        np.array([columns], np.int32), np.array([apex], np.int16), np.array([0.3])
    )
    function = ConvexFunction(rng.normal(size=4), rng.normal(size=(1, 4)), triangles)
    rows, sides = (array.astype(int).astype(object) for array in equality_rows(part.legal))
    matrix, _ = function_of(part, quadratic(part), function, rows, sides)
    pruned = legal_pruned(part.layer, "keep=2", range(1))
    for z, loss in zip(pruned, losses(part, pruned), strict=True):
        y = np.array([1, *z.astype(int)], dtype=object)
        term, _ = triangle_term([*z.astype(int).tolist(), 1], columns, apex)
        assert y @ matrix @ y == loss - Fraction(0.3) * term * unit


def test_semidefinite_matrices_are_told_by_elimination():
    rng = np.random.default_rng(0)
    for trial in range(200):
        n = int(rng.integers(1, 7))
        factor = rng.integers(-3, 4, (n, int(rng.integers(1, n + 1))))
        matrix = (factor @ factor.T).astype(object)
        assert semidefinite(matrix)
        matrix[0, 0] -= trial % 2
        matrix[-1, 0] = matrix[0, -1] = matrix[0, -1] + (trial % 3 if n > 1 else 0)
        least = np.linalg.eigvalsh(matrix.astype(float)).min()
        assert semidefinite(matrix) == (least > -1e-9)


# ---- what it rejects


def _leaves(**changes):
    return even_proof(evidence=replace(even_proof().evidence, **changes))


def _function(**changes):
    (function,) = even_proof().evidence.functions
    return _leaves(functions=(replace(function, **changes),))


def _triangle(columns, weight):
    return _function(
        triangles=Triangles(
            np.array([columns], np.int32), np.zeros(1, np.int16), np.array([weight])
        )
    )


REJECTED = {
    "states": even_proof(bound=np.nextafter(2.0, 3.0)),
    "states nan": even_proof(bound=np.nan),
    "states inf": even_proof(bound=np.inf),
    "another problem": even_proof(problem="0"),
    "other rows": even_proof(row=1),
    "of kind NoneType": even_proof(evidence=None),
    "another size": even_proof(mask=np.ones(3, bool)),
    "not legal": even_proof(mask=np.ones(4, bool)),
    "not positive semidefinite": _function(u=np.full(4, 1.001 * 0.5**EVEN.exponent)),
    "u is not finite": _function(u=np.array([0, 0, 0, np.nan])),
    "alpha has shape": _function(alpha=np.zeros((2, 4))),
    "negative weight": _triangle([0, 1, 2], -0.01),
    "ascending": _triangle([0, 2, 1], 0.01),
    "point is not finite": _leaves(points=np.full((1, 4), np.inf, np.float32)),
    "names point 1": _leaves(point=np.array([1], np.int32)),
    "names point -1": _leaves(point=np.array([-1], np.int32)),
    "names function 1": _leaves(function=np.array([1], np.int16)),
    "6 masks left": _leaves(function=np.array([-1], np.int16)),
    "tree ends": _leaves(branch=np.array([0], np.int32)),
    "beyond its leaves": _leaves(branch=np.array([-1, -1], np.int32)),
    "splits column 4": _leaves(branch=np.array([4, -1, -1], np.int32)),
    "miscounted": _leaves(branch=np.array([0, -1, -1], np.int32)),
}  # fmt: skip


@pytest.mark.parametrize("reason", REJECTED)
def test_what_proves_nothing_is_rejected(reason):
    pruned = legal_pruned(EVEN.layer, "keep=2", range(1))
    with pytest.raises(Rejected, match=reason):
        exact_bound(EVEN, pruned, REJECTED[reason])


@pytest.mark.parametrize(
    "mutation",
    [
        lambda first, second: (first, second, replace(first, proof=replace(first.proof, row=2))),
        lambda first, second: (replace(first, budget=None), second),
        lambda first, second: (replace(first, budget=3), second),
        lambda first, second: (replace(first, proof=replace(first.proof, evidence=None)), second),
    ],
)
def test_shared_budgets_altered_are_rejected(mutation):
    layer = random_layer(5, 4, rows=2)
    (part,) = Problem.of(layer, parse_pattern("layer:50%"))
    rows = tuple(row_of_budget(layer, row, 2) for row in range(2))
    proof = PartProof(0, part.digest, 0.0, None, SharedBudget(rows), height=2)
    pruned = legal_pruned(layer, "layer:50%", part.rows)
    exact_bound(part, pruned, proof)
    with pytest.raises(Rejected):
        exact_bound(part, pruned, replace(proof, evidence=SharedBudget(mutation(*rows))))
    with pytest.raises(Rejected):
        exact_bound(part, pruned, replace(proof, bound=1e6))


def test_numbers_are_held_exactly():
    numbers, divisor = whole(np.array([2.0**-1074, 1e300, 0.1]))
    assert [Fraction(number, divisor) for number in numbers] == [
        Fraction(2.0**-1074), Fraction(1e300), Fraction(0.1),
    ]  # fmt: skip

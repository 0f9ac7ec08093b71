"""Proofs over any set of masks: leaf minima against enumeration, mutations that must be caught."""

from dataclasses import replace
from fractions import Fraction

import numpy as np
import pytest

from maskgap.benchmarks.verify import leaf_minimum
from maskgap.benchmarks.verify.certificate import BoundKind
from maskgap.benchmarks.verify.check import check_part
from maskgap.benchmarks.verify.leaf_minimum import LeafMinimum
from maskgap.benchmarks.verify.objective import exact_loss
from maskgap.instances.convex_function import ConvexFunction
from maskgap.instances.errors import ProofError
from maskgap.instances.formats.evidence.enumeration import Enumeration
from maskgap.instances.formats.evidence.leaves import equality_rows
from maskgap.instances.formats.proof_file import read_proof, write_proof
from maskgap.instances.masks.patterns import parse_pattern
from maskgap.instances.masks.rows import LinearRows
from maskgap.instances.problem import Problem
from maskgap.solvers.bounds.relaxations import QpBound, SdpBound
from maskgap.solvers.protocol import Deadline, Limits, solve_part
from maskgap.solvers.tree.exhaustive import Exhaustive
from maskgap.solvers.tree.fw_bnb import FwBnb
from tests.helpers.general import SETS, SHAPES, judged, layer_with_extras, part_of, problems
from tests.helpers.proofs import mutate_leaves, rejected

WAYS = {
    "as chosen": {},
    "linear dual": {"LISTED": 0, "FEW": 0, "LARGEST_TABLE": 0},
    "dual or few": {"LISTED": 0, "LARGEST_TABLE": 0},
}


def _states(rng, n):
    share = rng.choice([0.0, 0.2, 0.5, 0.9])
    drawn = rng.random((40, n))
    return drawn < share / 2, drawn > 1 - share / 2


def _minima(masks, gradient, pruned, kept):
    """The least gradient . v over the masks of each leaf, exact for whole numbers."""
    found = []
    for g, ones, zeros in zip(gradient, pruned, kept, strict=True):
        left = masks[masks[:, ones].all(axis=1) & ~masks[:, zeros].any(axis=1)]
        found.append((left @ g).min(initial=np.inf))
    return np.array(found)


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("pattern", SETS)
def test_leaf_minima_against_enumeration(pattern, way, monkeypatch):
    for name, value in WAYS[way].items():
        monkeypatch.setattr(leaf_minimum, name, value)
    for seed, (part, _) in enumerate(problems(pattern)[:3]):
        rng = np.random.default_rng(seed)
        masks = np.concatenate(list(part.legal.enumerate_pruned()))
        minimum = LeafMinimum.of(part.legal.linear_rows(), part.legal.integral)
        for whole in (True, False):
            gradient = rng.integers(-9, 10, (40, part.n)).astype(float)
            if not whole:
                gradient = rng.normal(size=(40, part.n)) * 10.0 ** rng.uniform(-6, 6, (40, part.n))
            pruned, kept = _states(rng, part.n)
            least = _minima(masks, gradient, pruned, kept)
            found = minimum.bounds(gradient, pruned, kept)
            size = np.abs(gradient).sum(axis=1)
            assert (found <= least + 1e-14 * size).all()
            if part.legal.integral or way != "linear dual":
                some = np.isfinite(least)
                if way == "as chosen":
                    assert (np.isfinite(found) == some).all()
                if part.legal.integral or way == "as chosen":
                    assert (found[some] >= least[some] - 1e-9 * size[some]).all()
                    assert np.isinf(found[~some]).all()


@pytest.mark.parametrize("pattern", ["2:4^T", "50%;cost=45%", "50%;cap=3/4", "50%;cap=2/3+2"])
def test_any_multipliers_give_a_bound(pattern, monkeypatch):
    for name in ("LISTED", "FEW", "LARGEST_TABLE"):
        monkeypatch.setattr(leaf_minimum, name, 0)
    part, _ = problems(pattern)[0]
    masks = np.concatenate(list(part.legal.enumerate_pruned()))
    minimum = LeafMinimum.of(part.legal.linear_rows(), part.legal.integral)
    rng = np.random.default_rng(5)
    gradient = rng.normal(size=(40, part.n))
    pruned, kept = _states(rng, part.n)
    least = _minima(masks, gradient, pruned, kept)
    for size in (0.1, 1.0, 100.0):

        def wild(self, cost, ones, zeros, elastic, size=size):
            return size * rng.normal(size=len(self.matrix))

        monkeypatch.setattr(LeafMinimum, "_multipliers", wild)
        assert (minimum.bounds(gradient, pruned, kept) <= least).all()


def test_the_dual_value_lies_below_its_exact_value():
    part, _ = problems("2:4^T")[0]
    minimum = LeafMinimum.of(part.legal.linear_rows(), True)
    rng = np.random.default_rng(6)
    for _ in range(30):
        cost = rng.normal(size=part.n) * 10.0 ** rng.uniform(-9, 9, part.n)
        y = rng.normal(size=len(minimum.matrix)) * 10.0 ** rng.uniform(-9, 9, len(minimum.matrix))
        ones = rng.random(part.n) < 0.2
        free = ~ones & (rng.random(part.n) < 0.8)
        exact = sum(
            Fraction(v) * int(minimum.lower[r] if v > 0 else minimum.upper[r])
            for r, v in enumerate(y)
        )
        for j in range(part.n):
            rest = Fraction(cost[j]) - sum(
                int(minimum.matrix[r, j]) * Fraction(v) for r, v in enumerate(y)
            )
            exact += rest if ones[j] else min(rest, Fraction(0)) if free[j] else Fraction(0)
        assert Fraction(minimum._dual(cost, ones, free, y)) <= exact


def test_sets_without_a_whole_solution_and_numbers_too_large():
    two = np.array([[2, 2, 2, 2]])
    odd = LinearRows(_sparse(two), np.array([3]), np.array([3]), np.zeros(4, np.int8))
    nothing = np.zeros((1, 4), bool)
    assert LeafMinimum.of(odd, False).bounds(np.ones((1, 4)), nothing, nothing) == np.inf
    huge = LinearRows(_sparse(two * 2**52), np.array([0]), np.array([2**53]), np.zeros(4, np.int8))
    with pytest.raises(ProofError, match="does not hold"):
        LeafMinimum.of(huge, False)


def _sparse(matrix):
    from scipy.sparse import csr_matrix

    return csr_matrix(matrix.astype(np.int64))


# ---- whole proofs


def proved(pattern, seed=0):
    """A part, and the proof of a search without a reformulation: a tree of several leaves."""
    part, _ = problems(pattern)[seed]
    solver = FwBnb(convexify="diag", fixing=False)
    answer, certificate = judged(solver, part)
    assert certificate.bound_kind is BoundKind.CHECKED
    return part, answer.proof


TREES = [p for p in SETS if len(proved(p)[1].evidence.function) > 2]


def test_most_patterns_have_trees():
    assert len(TREES) >= 7


@pytest.mark.parametrize("pattern", TREES)
def test_a_deleted_leaf_is_caught(pattern):
    part, proof = proved(pattern)
    leaves = proof.evidence
    branch = leaves.branch
    last = int(np.flatnonzero(branch >= 0)[-1])  # its children are leaves: it becomes one of them
    place = int((branch[:last] == -1).sum())
    cut = np.delete(branch, [last + 1, last + 2])
    cut[last] = -1
    function, point = (np.delete(a, place) for a in (leaves.function, leaves.point))
    altered = replace(proof, evidence=replace(leaves, branch=cut, function=function, point=point))
    try:
        checked = check_part(part, altered)
    except ProofError:
        checked = None
    assert checked is None or checked.bound <= exact_loss(part, proof.mask).high
    rejected(part, mutate_leaves(proof, branch=branch[:-1]), "functions and|ends before")
    rejected(
        part,
        mutate_leaves(
            proof, branch=branch[:-1], function=leaves.function[:-1], point=leaves.point[:-1]
        ),
        "ends before all its leaves",
    )


@pytest.mark.parametrize("pattern", SHAPES)
def test_a_raised_bound_is_rejected(pattern):
    part, proof = proved(pattern)
    bound = check_part(part, proof).bound
    rejected(part, replace(proof, bound=float(np.nextafter(bound, np.inf))), "not supported")
    assert check_part(part, replace(proof, bound=bound)).bound == bound


@pytest.mark.parametrize("pattern", SETS)
def test_altered_numbers_are_rejected_or_the_bound_still_follows(pattern):
    part, proof = proved(pattern)
    least = part.rescale(problems(pattern)[0][1])
    rng = np.random.default_rng(7)
    for change in (1e-12, 1e-6, 1e-2, 1.0, 1e6):
        for target in range(3):
            function = proof.evidence.functions[0]
            u, alpha, points = (
                function.u.copy(),
                function.alpha.copy(),
                proof.evidence.points.copy(),
            )
            values = (u, alpha, points)[target]
            values.flat[rng.integers(values.size)] += change * rng.normal()
            altered = mutate_leaves(proof, functions=(ConvexFunction(u, alpha),), points=points)
            for stated in (proof.bound, 0.0):
                try:
                    checked = check_part(part, replace(altered, bound=stated))
                except ProofError:
                    continue
                assert stated <= checked.bound <= least * (1 + 1e-14)


@pytest.mark.parametrize("pattern", SETS)
def test_random_multipliers_never_prove_too_much(pattern):
    part, proof = proved(pattern)
    least = part.rescale(problems(pattern)[0][1])
    rng = np.random.default_rng(8)
    rows, _ = equality_rows(part.legal)
    for size in (0.01, 1.0):
        alpha = size * rng.normal(size=rows.shape)
        terms = rows.T @ alpha
        low = np.linalg.eigvalsh(part.quad + 0.5 * (terms + terms.T))[0]
        function = ConvexFunction(np.full(part.n, low - 1e-9), alpha)
        altered = replace(mutate_leaves(proof, functions=(function,)), bound=0.0)
        assert 0.0 <= check_part(part, altered).bound <= least * (1 + 1e-14)


@pytest.mark.parametrize("pattern", TREES)
def test_leaves_without_a_function_must_be_forced(pattern):
    part, proof = proved(pattern)
    function = np.full_like(proof.evidence.function, -1)
    rejected(part, mutate_leaves(proof, function=function), "columns that are not forced")


def test_a_leaf_that_is_forced_takes_its_loss():
    part, least = problems("2:3^T")[0]
    masks = np.concatenate(list(part.legal.enumerate_pruned()))
    answer, _ = judged(FwBnb(convexify="none"), part)
    branch, function = [], []

    def grow(column):
        if column == part.n:
            branch.append(-1)
            function.append(-1)
            return
        branch.append(column)
        grow(column + 1)
        grow(column + 1)

    grow(0)
    leaves = replace(
        answer.proof.evidence,
        branch=np.array(branch, np.int32),
        function=np.array(function, np.int16),
        point=np.full(len(function), -1, np.int32),
    )
    checked = check_part(part, replace(answer.proof, evidence=leaves, bound=0.0))
    assert checked.leaves == 2**part.n
    assert len(masks) == 6
    assert checked.bound == pytest.approx(part.rescale(least), rel=1e-12)
    assert checked.bound <= part.rescale(least)


def test_another_instance_row_or_height_is_rejected():
    part, proof = proved("2:4^T")
    rejected(problems("2:4^T")[1][0], proof, "another problem")
    rejected(part, replace(proof, row=1), "another problem")
    rejected(part, replace(proof, height=1), "another problem")
    costs = part_of(1, "50%;cost=45%")
    proof = judged(FwBnb(convexify="none"), costs)[0].proof
    dearer = replace(costs.layer, column_cost=costs.layer.column_cost + 1)
    other = next(iter(Problem.of(dearer, parse_pattern("50%;cost=45%"))))
    rejected(other, proof, "another problem")


@pytest.mark.parametrize("pattern", SETS)
def test_multipliers_of_another_number_of_rows_are_rejected(pattern):
    part, proof = proved(pattern)
    function = proof.evidence.functions[0]
    longer = np.concatenate([function.alpha, np.zeros((1, part.n))])
    rejected(
        part,
        mutate_leaves(proof, functions=(ConvexFunction(function.u, longer),)),
        "alpha: expected float64",
    )


@pytest.mark.parametrize("pattern", SHAPES)
def test_bounds_without_masks_are_checked(pattern):
    for part, least in problems(pattern)[:4]:
        for solver in (QpBound(), SdpBound(), SdpBound(triangle_rounds=2)):
            answer, certificate = judged(solver, part)
            assert certificate.bound_kind is BoundKind.CHECKED, certificate
            assert certificate.bound <= part.rescale(least) * (1 + 1e-12)
            assert answer.proof.height == part.height


@pytest.mark.parametrize("pattern", SHAPES)
def test_an_enumeration_looks_at_every_mask(pattern):
    part, least = problems(pattern)[0]
    answer = solve_part(Exhaustive(), part, Limits(Deadline(60.0)), 0)
    assert isinstance(answer.proof.evidence, Enumeration)
    checked = check_part(part, answer.proof)
    assert checked.leaves == part.legal.masks
    assert checked.bound == pytest.approx(part.rescale(least), rel=1e-11, abs=1e-12)
    raised = replace(answer.proof, bound=float(np.nextafter(checked.bound, np.inf)), mask=None)
    rejected(part, raised, "not supported")


def test_an_enumeration_over_too_many_columns_is_refused():
    layer = layer_with_extras(1, 1, 28)
    part = next(iter(Problem.of(layer, parse_pattern("50%;cost=60%"))))
    proof = replace(proved("50%;cost=45%")[1], problem=part.digest, mask=None)
    rejected(part, replace(proof, evidence=Enumeration()), "28 free columns")


def test_proofs_of_parts_survive_a_file(tmp_path):
    layer = layer_with_extras(3, 8, 8)
    found = []
    problem = Problem.of(layer, parse_pattern("2:4^T"))
    for part in problem:
        answer = solve_part(FwBnb(), part, Limits(Deadline(60.0)), 0)
        found.append((part, answer.proof))
    path = tmp_path / "tiles.proof.safetensors"
    write_proof(path, problem, [proof for _, proof in found])
    for (part, proof), again in zip(found, read_proof(path).proofs, strict=True):
        assert again.height == part.height == 4
        assert check_part(part, again).bound == check_part(part, proof).bound >= proof.bound

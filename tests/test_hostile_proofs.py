"""Proof files made to deceive: each is refused in one line, or what is accepted of it is true.

The optima are known exactly: by listing all masks, or by hand. What is attacked: that a
factorisation is taken for success, numbers that are none, what is nested in a proof, the state that
work goes on from, the question that was asked, a loss that is a float, and the reader's patience.
"""

import contextlib
import io
import json
import os
import tracemalloc
from dataclasses import replace
from fractions import Fraction
from time import perf_counter

import numpy as np
import pytest
import scipy.linalg
from instances.definite import cholesky, defect, least_eigenvalue
from instances.proof_file import write_proof

from benchmarks.certify import BoundKind, Verdict, certify_row
from benchmarks.commands import bound, check
from benchmarks.proof_check import check_row
from instances.errors import InputError, MaskgapError, ProofError
from instances.files import read_layer, read_mask, write_layer
from instances.groups import BudgetGroups
from instances.layer import INDEFINITE_TOLERANCE, Layer
from instances.patterns import parse_pattern
from instances.problem import Problem, RowProblem
from instances.proof import (
    ConvexFunction,
    Leaves,
    ProofKind,
    RowProof,
    SharedShift,
    root_leaves,
)
from instances.triangles import Triangles
from tests.exact import losses, semidefinite, whole
from tests.legal_masks import legal_pruned
from tests.tiny import random_layer


def optimum(part):
    """The least exact loss of a small part."""
    return min(losses(part, legal_pruned(part.layer, part.pattern, part.rows)))


def asked(folder, layer, pattern, proofs, about=None, limit_s=30.0):
    """(exit code, lines) of `maskgap check` on a file of proofs; a refusal is one line.

    about: the problem that the file says it is about, where it is another than the one asked.
    """
    problem = Problem.of(layer, parse_pattern(pattern))
    write_layer(folder / "layer.safetensors", layer)
    path = folder / "it.proof.safetensors"
    write_proof(path, about or problem, proofs)
    return of_file(folder, path, pattern, limit_s)


def of_file(folder, path, pattern, limit_s=30.0):
    out, err = io.StringIO(), io.StringIO()
    with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
        code = check.run(path, folder / "layer.safetensors", pattern, None, limit_s, True)
    assert (err.getvalue().count("\n") == 1) == (code == 1)
    return code, [json.loads(line) for line in out.getvalue().splitlines()]


def holds_or_is_refused(part, proof):
    """The checker refuses, or its bound is at most the optimum; whether it accepted."""
    try:
        found = check_row(part, proof).bound
    except ProofError:
        return False
    assert Fraction(found) <= optimum(part)
    return True


def row_of(layer, pattern, row=0):
    return Problem.of(layer, parse_pattern(pattern)).row(row)


def tree(part, leaves, **changes):
    proof = RowProof(part.row, part.digest, 0.0, None, ProofKind.LEAVES, leaves, height=part.height)
    return replace(proof, **changes)


def rooted(part, function, point=None):
    x = np.zeros(part.n) if point is None else point
    return tree(part, root_leaves(function, x))


# ---- factorisations


def overflowing(n, length=44, power=25):
    """A symmetric matrix, far from semidefinite, whose Cholesky factor LAPACK calls a success.

    Row `length` of the factor grows by 2^power a step until it is infinite; infinity times 0 is
    NaN, and a NaN pivot is not found to be negative.
    """
    small, more = 2.0**-power, 1 + 2.0**-10
    matrix = np.eye(n)
    matrix[0, 0], matrix[0, 1] = more * more, more
    for k in range(1, length):
        matrix[k, k] = 1 + small * small
    for k in range(1, length - 1):
        matrix[k, k + 1] = small
    matrix[length, length] = matrix[0, length] = more
    return np.triu(matrix) + np.triu(matrix, 1).T


@pytest.mark.parametrize("reverse", [False, True])
def test_a_factor_that_overflows_shows_nothing(reverse):
    matrix = overflowing(64)
    _, info = scipy.linalg.lapack.dpotrf(matrix, lower=1)
    assert info == 0  # the premise: LAPACK is content
    assert np.linalg.eigvalsh(matrix)[0] < -0.4
    given = np.ascontiguousarray(matrix[::-1, ::-1]) if reverse else matrix
    assert cholesky(given) is None or defect(given) > 0.4
    assert not defect(given) < 0.4
    assert least_eigenvalue(given).semidefinite is False


@pytest.mark.parametrize("seed", range(60))
def test_defects_hold_in_exact_arithmetic(seed):
    rng = np.random.default_rng([31, seed])
    n = int(rng.integers(1, 8))
    factor = rng.normal(size=(n, int(rng.integers(1, n + 1)))) * 2.0 ** rng.integers(-70, 1, (n, 1))
    matrix = factor @ factor.T
    noise = rng.normal(size=(n, n)) * 2.0 ** rng.integers(-80, -20)
    matrix = 0.5 * (matrix + matrix.T) + noise + noise.T + 2.0 ** rng.integers(-80, 0) * np.eye(n)
    matrix /= max(1.0, np.abs(matrix).max())
    matrix = np.triu(matrix) + np.triu(matrix, 1).T
    found = defect(matrix)
    assert found >= 0
    if found < np.inf:
        assert exactly_above(matrix, -Fraction(found))
    interval = least_eigenvalue(matrix)
    assert exactly_above(matrix, Fraction(interval.low))
    assert not exactly_above(
        matrix, Fraction(np.nextafter(interval.high, np.inf)) + Fraction(1e-300)
    )


def exactly_above(matrix, value):
    """Whether all eigenvalues are at least a value, exactly."""
    numbers, over = whole(matrix)
    top, below = value.numerator, value.denominator
    moved = numbers * below
    at = np.arange(len(matrix))
    moved[at, at] -= top * over
    return semidefinite(moved)


@pytest.mark.parametrize("reverse", [False, True])
@pytest.mark.parametrize(("length", "power"), [(44, 18), (44, 25), (58, 20), (58, 25)])
def test_the_door_refuses_grams_that_only_an_overflow_passes(length, power, reverse):
    target = overflowing(64, length, power)
    target[-1, -2] = target[-2, -1] = 5.0
    gram = target.copy()
    for _ in range(60):  # what the door adds to the diagonal brings it to the target again
        shifted = gram.diagonal() + INDEFINITE_TOLERANCE * gram.trace()
        gram[np.diag_indices(64)] -= shifted - target.diagonal()
    assert np.linalg.eigvalsh(gram)[0] < -3.5
    given = gram[::-1, ::-1] if reverse else gram
    with pytest.raises(InputError, match="indefinite"):
        Layer.from_arrays(np.ones((1, 64)), given)


@pytest.mark.parametrize("reverse", [False, True])
@pytest.mark.parametrize("size", [2.0**-2, 1.0, 64.0, 2.0**60, 2.0**92, 2.0**200])
@pytest.mark.parametrize("roundings", [0, 1, 2, 4])
def test_functions_that_only_an_overflow_passes_bound_nothing(size, roundings, reverse):
    """G = I, w = 1, 8 of 64 kept: every mask has the loss 56. McCormick terms make any P."""
    layer = Layer.from_arrays(np.ones((1, 64)), np.eye(64))
    part = row_of(layer, "keep=8")
    scale = 2.0**-part.exponent
    target = size * overflowing(64)
    target = target[::-1, ::-1] if reverse else target
    pairs = [(i, j) for i in range(64) for j in range(i + 1, 64) if target[i, j]]
    triangles = Triangles(  # the term z_j - z_i z_j, taken off, adds z_i z_j
        np.array([(-1, i, j) for i, j in pairs], np.int32),
        np.full(len(pairs), 2, np.int16),
        np.array([2 * target[pair] for pair in pairs]),
    )
    live = (target != np.eye(64) * size).any(axis=1)
    slack = roundings * 64 * 64 * 2.0**-53 * size  # a guess of what the checker takes off
    u = np.where(live, scale - target.diagonal() - slack, 8 * size)
    proof = rooted(part, ConvexFunction(u, np.zeros((1, 64)), triangles))
    with contextlib.suppress(ProofError):
        assert check_row(part, proof).bound <= 56.0


@pytest.mark.parametrize("off", [0.0, 1e-300, 1e-20, 1e-14, 1e-10, 1e-7, 1e-6])
@pytest.mark.parametrize("below", [0.0, 5e-324, 1e-308, 1e-160, 1e-20])
def test_shifts_of_columns_without_a_diagonal_hold(off, below):
    """Scaling to a unit diagonal overflows where there is next to none."""
    gram = np.eye(8)
    gram[0, 0] = gram[2, 2] = 0.0
    gram[0, 2] = gram[2, 0] = off
    part = row_of(Layer.from_arrays(np.ones((1, 8)), gram), "keep=4")
    shift = np.full(8, 4.0)
    shift[[0, 2]], shift[1] = -below, 0.0
    shared = SharedShift(shift, np.zeros(8, np.float32))
    proof = RowProof(0, part.digest, 0.0, None, ProofKind.SHIFT, shared=shared)
    holds_or_is_refused(part, proof)


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf, 1e308, -1e308, 1e40, 5e-324, 1.0])
@pytest.mark.parametrize("column", [0, 5])
def test_shifts_of_any_numbers_hold(value, column):
    layer = random_layer(1, 6)
    gram = layer.gram.copy()
    gram[5], gram[:, 5] = 0.0, 0.0
    part = row_of(Layer.from_arrays(layer.weight, gram), "keep=3")
    shift = np.zeros(6)
    shift[column] = value
    shared = SharedShift(shift, np.full(6, 0.5, np.float32))
    holds_or_is_refused(part, RowProof(0, part.digest, 0.0, None, ProofKind.SHIFT, shared=shared))


def test_a_shift_that_is_written_to_is_verified_again():
    part = row_of(Layer.from_arrays(np.ones((1, 4)), np.eye(4)), "keep=2")
    shared = SharedShift(np.full(4, 0.5), np.zeros(4, np.float32))
    proof = RowProof(0, part.digest, 0.0, None, ProofKind.SHIFT, shared=shared)
    assert holds_or_is_refused(part, proof)
    shared.shift[:] = 4.0
    assert not holds_or_is_refused(part, proof)


# ---- numbers that cancel, overflow, or are none


@pytest.mark.parametrize("power", [0, 20, 40, 53, 60, 90, 98])
@pytest.mark.parametrize("raised", [1e-9, 1e-3, 1.0, 1e3])
def test_multipliers_that_cancel_bound_no_more_than_the_optimum(power, raised):
    """Large alpha of one row, u to match, and a little more of u than is allowed."""
    layer = random_layer(2, 6)
    part = row_of(layer, "keep=3")
    size = 2.0**power
    least = np.linalg.eigvalsh(part.quad)[0]
    for sign in (1.0, -1.0):
        function = ConvexFunction(np.full(6, least + raised), np.full((1, 6), sign * size))
        holds_or_is_refused(part, rooted(part, function, np.full(6, 0.5)))
    # the diagonal of the alpha term is taken back by u, its other entries are not
    function = ConvexFunction(np.full(6, least + raised + size), np.full((1, 6), size))
    holds_or_is_refused(part, rooted(part, function, np.full(6, 0.5)))


@pytest.mark.parametrize("power", [0, 20, 40, 53, 60, 90])
def test_triangles_that_cancel_bound_no_more_than_the_optimum(power):
    """The four terms of one triple sum to the constant 1: P is as without, c is not."""
    part = row_of(random_layer(2, 6), "keep=3")
    u = np.full(6, np.linalg.eigvalsh(part.quad)[0] * (1 - 1e-9))
    for columns in ((0, 1, 2), (-1, 0, 1)):
        triangles = Triangles(
            np.array([columns] * 4, np.int32),
            np.array([-1, 0, 1, 2], np.int16),
            np.full(4, 2.0**power) * (1 + np.array([0, 0, 0, 2.0**-52])),
        )
        function = ConvexFunction(u, np.zeros((1, 6)), triangles)
        holds_or_is_refused(part, rooted(part, function, np.full(6, 0.5)))


BAD_NUMBERS = (np.nan, np.inf, -np.inf, 1e300, -1e300, 1e155)


@pytest.mark.parametrize("value", BAD_NUMBERS)
@pytest.mark.parametrize("where", ["u", "alpha", "weight", "points"])
def test_numbers_that_are_none_bound_nothing(value, where):
    part = row_of(random_layer(3, 6), "keep=3")
    triangles = Triangles(np.array([[0, 1, 2]], np.int32), np.zeros(1, np.int16), np.array([1e-3]))
    function = ConvexFunction(np.full(6, -0.1), np.zeros((1, 6)), triangles)
    proof = rooted(part, function, np.full(6, 0.5))
    assert holds_or_is_refused(part, proof)
    if where == "points":
        with np.errstate(over="ignore"):
            points = np.full((1, 6), np.float32(value))
        altered = replace(proof.leaves, points=points)
    elif where == "weight":
        triangles = replace(triangles, weight=np.array([value]))
        altered = replace(proof.leaves, functions=(replace(function, triangles=triangles),))
    else:
        array = getattr(function, where).copy()
        array.flat[3] = value
        altered = replace(proof.leaves, functions=(replace(function, **{where: array}),))
    assert not holds_or_is_refused(part, replace(proof, leaves=altered))


@pytest.mark.parametrize("keep", [0, 1, 2, 3])
@pytest.mark.parametrize("scale", [1e-157, 1e-100, 1e90, 1e100])
def test_lists_of_masks_whose_losses_overflow_bound_nothing(keep, scale):
    """A minimum skips NaN; leaves of one mask likewise."""
    gram = np.array([[1.0, 0, 0], [0, 0, 1e-6], [0, 1e-6, 0]])
    weight = np.array([[scale, 1.0, 1.0]])
    try:
        part = row_of(Layer.from_arrays(weight, gram), f"keep={keep}")
    except InputError as error:
        assert "float64" in str(error)
        return
    stated = RowProof(0, part.digest, 1e300, None, ProofKind.ENUMERATION)
    assert not holds_or_is_refused(part, stated)
    holds_or_is_refused(part, replace(stated, bound=0.0))
    if keep in (0, 3):
        none = Leaves(
            (), np.array([-1], np.int32), np.array([-1], np.int16), np.array([-1], np.int32),
            np.zeros((0, 3), np.float32),
        )  # fmt: skip
        assert not holds_or_is_refused(part, tree(part, none, bound=1e300))
        holds_or_is_refused(part, tree(part, none))


# ---- what is nested


def shared_parts(seed=0):
    layer = random_layer(seed, 5, rows=2)
    (part,) = Problem.of(layer, parse_pattern("layer:40%"))
    return part


def row_proof_of(part, row, function, budget=2, points=None):
    """A proof of one row, with whatever function."""
    n = part.layer.d_in
    alone = RowProblem(part.layer, row, f"keep={n - budget}", BudgetGroups(n, n, budget))
    proof = rooted(alone, function)
    if points is not None:
        proof = replace(proof, leaves=replace(proof.leaves, points=points))
    return replace(proof, budget=budget)


def negative_triangles(part, size):
    """McCormick terms of negative weight lift the function over the loss."""
    n = part.layer.d_in
    pairs = [(-1, a, b) for a in range(n) for b in range(a + 1, n)]
    triangles = Triangles(
        np.array(pairs, np.int32), np.zeros(len(pairs), np.int16), np.full(len(pairs), -size)
    )
    return ConvexFunction(np.full(n, -size * n), np.zeros((1, n)), triangles)


def second_row(part, size):
    """An alpha of two rows, of which the matrix sees one and the linear term both."""
    alpha = np.zeros((2, part.layer.d_in))
    alpha[1] = -size
    return ConvexFunction(np.zeros(part.layer.d_in), alpha)


def too_convex(part, size):
    return ConvexFunction(np.full(part.layer.d_in, size), np.zeros((1, part.layer.d_in)))


FUNCTIONS = (negative_triangles, second_row, too_convex)
STAIRS = np.tile(np.linspace(0, 1, 6)[:, None], (1, 5)).astype(np.float32)


@pytest.mark.parametrize(
    "kind", [ProofKind.SHARED_BUDGET, ProofKind.ENUMERATION, ProofKind.TRIVIAL]
)
@pytest.mark.parametrize("make", FUNCTIONS)
@pytest.mark.parametrize("size", [10.0, 1000.0])
def test_rows_inside_a_proof_are_held_to_the_same_rules(tmp_path, kind, make, size):
    part = shared_parts()
    rows = tuple(row_proof_of(part, row, make(part, size), 2, STAIRS) for row in part.rows)
    mask = part.legal.prune_lowest(-(part.weight**2))  # a bad one
    proof = RowProof(0, part.digest, 0.0, mask, kind, height=2, rows=rows, passes=99)
    assert not holds_or_is_refused(part, proof)
    answer = certify_row(part, mask, proof=proof)
    assert answer.bound == 0.0
    assert answer.verdict is Verdict.FEASIBLE
    total = resumed(tmp_path, part.layer, "layer:40%", [proof])
    assert total is None or Fraction(total["bound"]) <= optimum(part)
    assert total is None or total["verdict"] != "proved"


@pytest.mark.parametrize(
    "change",
    [
        {"kind": ProofKind.SHARED_BUDGET},
        {"kind": ProofKind.ENUMERATION, "leaves": None},
        {"budget": -1},
        {"budget": 6},
        {"budget": None},
        {"row": 2},
        {"row": -1},
        {"height": 2},
        {"problem": "0" * 64},
        {"bound": 1e9},
        {"mask": np.ones(3, bool)},
        {"leaves": None},
    ],
    ids=str,
)
def test_rows_inside_a_proof_that_are_not_what_they_should_be_are_refused(change):
    part = shared_parts()
    function = too_convex(part, -1.0)
    rows = tuple(row_proof_of(part, row, function) for row in part.rows)
    proof = RowProof(0, part.digest, 0.0, None, ProofKind.SHARED_BUDGET, height=2, rows=rows)
    assert holds_or_is_refused(part, proof)
    assert not holds_or_is_refused(part, replace(proof, rows=(replace(rows[0], **change), rows[1])))


@pytest.mark.parametrize("pattern", ["layer:40%", "1:2^T"])
def test_a_shift_bounds_no_part_of_several_rows(pattern):
    layer = random_layer(4, 4, rows=2)
    (part,) = Problem.of(layer, parse_pattern(pattern))
    shared = SharedShift(np.full(4, 1e-3), np.zeros(8, np.float32))
    for shift in (shared.shift, np.full(8, 1e-3)):
        proof = RowProof(
            0, part.digest, 0.0, None, ProofKind.SHIFT, height=2,
            shared=replace(shared, shift=shift),
        )  # fmt: skip
        assert not holds_or_is_refused(part, proof)


# ---- the state that work goes on from


def resumed(folder, layer, pattern, proofs, *, out=None):
    """The last line of `bound --resume` from proofs, or None where it refuses them in words."""
    write_layer(folder / "layer.safetensors", layer)
    write_proof(folder / bound.PROOF_NAME, Problem.of(layer, parse_pattern(pattern)), proofs)
    shown = io.StringIO()
    with contextlib.redirect_stdout(shown), contextlib.redirect_stderr(io.StringIO()):
        try:
            code = bound.run(
                folder / "layer.safetensors", pattern, 30.0, None, None, 1e-6, 0, 1, "cpu", 0,
                folder, out, True, "local", None, True,
            )  # fmt: skip
        except MaskgapError:
            return None
    assert code == 0
    return json.loads(shown.getvalue().splitlines()[-1])


@pytest.mark.parametrize("kind", [ProofKind.ENUMERATION, ProofKind.TRIVIAL])
@pytest.mark.parametrize("stated", [0.0, 1e300])
@pytest.mark.parametrize(
    "mask",
    [np.ones(8, bool), np.zeros(8, bool), np.repeat([False, True], 4), np.ones(5, bool)],
    ids=["all kept", "all pruned", "one half", "too short"],
)
def test_masks_that_are_not_legal_are_not_gone_on_from(tmp_path, mask, stated, kind):
    layer = Layer.from_arrays(np.ones((2, 8)), np.eye(8))
    problem = Problem.of(layer, parse_pattern("2:4"))
    proofs = [RowProof(part.row, part.digest, stated, mask, kind) for part in problem]
    total = resumed(tmp_path, layer, "2:4", proofs, out=tmp_path / "out.mask.safetensors")
    if total is not None:
        assert total["objective"] in (None, 8.0)
        assert total["bound"] <= 8.0
    if (tmp_path / "out.mask.safetensors").exists():
        assert problem.is_legal(read_mask(tmp_path / "out.mask.safetensors", layer))


# ---- the question that was asked


def listed(layer, pattern, rows=None):
    """Enumeration proofs of all parts, with the bounds that they prove."""
    problem = Problem.of(layer, parse_pattern(pattern), rows)
    bare = [
        RowProof(part.row, part.digest, 0.0, None, ProofKind.ENUMERATION, height=part.height)
        for part in problem
    ]
    return problem, [
        replace(proof, bound=check_row(part, proof).bound)
        for part, proof in zip(problem, bare, strict=True)
    ]


LADDER = random_layer(6, 6, rows=4)
STEEP = Layer.from_arrays(
    LADDER.weight * np.array([[10.0], [1.0], [0.1], [0.01]]),
    LADDER.gram,
    column_cost=np.arange(1, 7),
    forced=np.zeros((4, 6), np.int8),
)


@pytest.mark.parametrize("pattern", ["50%", "layer:50%", "1:2^T", "50%;cost=60%", "50%;forced"])
def test_proofs_of_the_question_asked_hold(tmp_path, pattern):
    problem, proofs = listed(STEEP, pattern)
    code, lines = asked(tmp_path, STEEP, pattern, proofs)
    assert code == 0
    assert [line["row"] for line in lines] == [part.row for part in problem]


@pytest.mark.parametrize(
    ("made", "wanted"),
    [
        ("50%", "layer:50%"),
        ("50%", "layer:60%"),
        ("50%", "2:3"),
        ("50%", "1:2"),
        ("50%", "60%"),
        ("50%", "50%;cost=100%"),
        ("50%", "50%;forced"),
        ("50%;cost=60%", "50%"),
        ("50%;cost=60%", "50%;cost=50%"),
        ("1:2", "1:2^T"),
        ("1:2^T", "1:2"),
        ("layer:50%", "50%"),
    ],
)
def test_proofs_of_another_pattern_are_refused(tmp_path, made, wanted):
    problem, proofs = listed(STEEP, made)
    assert asked(tmp_path, STEEP, wanted, proofs, problem)[0] == 1
    assert asked(tmp_path, STEEP, wanted, proofs)[0] == 1  # whatever the file says of itself


@pytest.mark.parametrize("pattern", ["layer:50%", "1:2^T"])
@pytest.mark.parametrize("rows", [range(2), range(2, 4), range(1, 3)])
def test_proofs_of_some_of_the_rows_that_are_coupled_are_refused(tmp_path, pattern, rows):
    try:
        problem, proofs = listed(STEEP, pattern, rows)
    except InputError:
        pytest.skip("no such strip of rows")
    code, lines = asked(tmp_path, STEEP, pattern, proofs, problem)
    assert code == 1
    assert not [line for line in lines if line["holds"]]


@pytest.mark.parametrize(
    "choose",
    [
        lambda proofs: [],
        lambda proofs: proofs[:3],
        lambda proofs: proofs[::-1],
        lambda proofs: [*proofs, proofs[0]],
        lambda proofs: [proofs[0]] * 4,
        lambda proofs: [replace(proofs[1], row=0), *proofs[1:]],
        lambda proofs: [replace(proofs[0], height=2), *proofs[1:]],
    ],
    ids=["none", "too few", "reversed", "too many", "repeated", "renamed", "taller"],
)
def test_each_row_is_proved_once_and_in_order(tmp_path, choose):
    problem, proofs = listed(STEEP, "50%")
    assert asked(tmp_path, STEEP, "50%", choose(proofs), problem)[0] == 1


@pytest.mark.parametrize("change", ["weight", "gram", "column_cost", "forced"])
def test_proofs_of_another_layer_are_refused(tmp_path, change):
    _, proofs = listed(STEEP, "50%;cost=60%;forced")
    arrays = {
        "weight": STEEP.weight,
        "gram": STEEP.gram,
        "column_cost": STEEP.column_cost,
        "forced": STEEP.forced,
    }
    array = arrays[change].copy()
    array[0, 0] if array.ndim == 2 else array[0]
    if array.ndim == 2:
        array[0, 0] += 1
    else:
        array[0] += 1
    other = Layer.from_arrays(**{**arrays, change: array})
    assert asked(tmp_path, other, "50%;cost=60%;forced", proofs)[0] == 1


# ---- losses that a float does not hold


def never_proved_falsely(part, pruned):
    """The certificate of each mask, with the list of all as proof, against the exact optimum."""
    proof = RowProof(part.row, part.digest, 0.0, None, ProofKind.ENUMERATION)
    exact = losses(part, pruned)
    for z, loss in zip(pruned, exact, strict=True):
        found = certify_row(part, ~z, proof=proof)
        assert Fraction(found.objective_low) <= loss <= Fraction(found.objective_high)
        assert found.verdict is not Verdict.WRONG
        if found.verdict is Verdict.PROVED:
            assert loss - min(exact) <= Fraction(1e-6) * loss


@pytest.mark.parametrize("low", [1e-60, 1e-70, 1e-100])
def test_a_loss_that_underflows_is_not_proved(low):
    weight = np.array([[1e100, low, 2 * low, 3 * low]])
    try:
        part = row_of(Layer.from_arrays(weight, np.eye(4) * 1e50), "keep=3")
    except InputError as error:
        assert "float64" in str(error)
        return
    never_proved_falsely(part, legal_pruned(part.layer, "keep=3", [0]))


@pytest.mark.parametrize("seed", range(40))
def test_a_loss_that_is_left_after_cancellation_is_not_proved_falsely(seed):
    rng = np.random.default_rng([32, seed])
    inputs = rng.normal(size=(6, 2))
    for j in (1, 3, 5):
        inputs[j] = -inputs[j - 1] + 10.0 ** rng.integers(-12, -6) * rng.normal(size=2)
    part = row_of(Layer.from_arrays(np.ones((1, 6)), inputs @ inputs.T), "keep=4")
    never_proved_falsely(part, legal_pruned(part.layer, "keep=4", [0]))


# ---- the reader's patience


def header_file(path, header, data=b""):
    text = json.dumps(header).encode() if isinstance(header, dict) else header
    path.write_bytes(len(text).to_bytes(8, "little") + text + data)


def claims(shape, dtype="F64", end=None):
    size = end if end is not None else 8 * int(np.prod(shape, dtype=object))
    return {"part0.u0": {"dtype": dtype, "shape": shape, "data_offsets": [0, size]}}


FILES = {
    "empty": lambda path: path.write_bytes(b""),
    "short": lambda path: path.write_bytes(b"\x01"),
    "no header": lambda path: path.write_bytes(b"\xff" * 64),
    "text": lambda path: path.write_text("a proof"),
    "claims much": lambda path: header_file(path, claims([10**12])),
    "claims much of nothing": lambda path: header_file(path, claims([0, 10**18], end=0)),
    "claims more than integers": lambda path: header_file(path, claims([2**62, 4], end=16)),
    "claims less than nothing": lambda path: header_file(path, claims([-1], end=0)),
    "deep": lambda path: header_file(path, b"[" * 200_000),
    "deep object": lambda path: header_file(path, b'{"a":' * 100_000),
    "long header": lambda path: path.write_bytes((2**40).to_bytes(8, "little") + b"{}"),
    "no layer, no format": lambda path: header_file(path, {"__metadata__": {}}),
    "metadata of numbers": lambda path: header_file(path, {"__metadata__": {"format": 1}}),
    "metadata no object": lambda path: header_file(path, {"__metadata__": []}),
    "pipe": os.mkfifo,
    "directory": lambda path: path.mkdir(),
    "holes": lambda path: sparse(path, 50 << 30),
    "link to itself": lambda path: path.symlink_to(path),
}  # fmt: skip


def sparse(path, size):
    header_file(path, claims([size // 8]))
    os.truncate(path, size)


@pytest.mark.parametrize("name", FILES)
@pytest.mark.parametrize("role", ["proof", "layer"])
def test_what_is_no_file_of_ours_is_refused_at_once(tmp_path, name, role):
    write_layer(tmp_path / "layer.safetensors", STEEP)
    path = tmp_path / "it.safetensors"
    FILES[name](path)
    start = perf_counter()
    tracemalloc.start()
    try:
        if role == "layer":
            with pytest.raises(InputError):
                read_layer(path)
        else:
            try:
                assert of_file(tmp_path, path, "50%")[0] == 1
            except InputError as error:  # a path that leads nowhere
                assert "it.safetensors" in str(error)
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert peak < 64 << 20
    assert perf_counter() - start < 60.0


def sized(leaves, columns, pattern):
    """A tree that splits the first columns wholly, and names one point everywhere."""
    depth = leaves.bit_length() - 1
    branch = []

    def grow(level):
        if level == depth:
            branch.append(-1)
            return
        branch.append(level)
        grow(level + 1)
        grow(level + 1)

    grow(0)
    rng = np.random.default_rng(0)
    plain = random_layer(7, columns)
    layer = Layer.from_arrays(
        plain.weight, plain.gram, column_cost=rng.integers(100, 3000, columns)
    )
    part = row_of(layer, pattern)
    function = ConvexFunction(np.full(columns, -1.0), np.zeros((1, columns)))
    leaf = Leaves(
        (function,),
        np.array(branch, np.int32),
        np.zeros(leaves, np.int16),
        np.zeros(leaves, np.int32),
        np.full((1, columns), 0.5, np.float32),
    )
    return layer, tree(part, leaf)


@pytest.mark.parametrize("pattern", ["50%;cost=45%", "50%;cap=5/8+4"])
def test_a_check_that_takes_longer_than_asked_is_ended_in_words(tmp_path, pattern):
    layer, proof = sized(1 << 13, 64, pattern)
    start = perf_counter()
    code, lines = asked(tmp_path, layer, pattern, [proof], limit_s=1.0)
    assert code == 1
    assert "1 s" in lines[-1]["reason"]
    assert perf_counter() - start < 60.0


@pytest.mark.parametrize("pattern", ["keep=16", "2:4", "layer:50%", "50%;block=2", "4:8^T"])
def test_lists_of_too_many_masks_are_refused(tmp_path, pattern):
    layer = random_layer(8, 48, rows=8)
    problem = Problem.of(layer, parse_pattern(pattern))
    proofs = [
        RowProof(part.row, part.digest, 0.0, None, ProofKind.ENUMERATION, height=part.height)
        for part in problem
    ]
    assert asked(tmp_path, layer, pattern, proofs, limit_s=2.0)[0] == 1


# ---- what a solver may hand over


class Odd:
    """Neither a number, nor an array, nor a proof."""


PART = row_of(random_layer(9, 6), "keep=3")
GOOD = rooted(PART, ConvexFunction(np.full(6, -0.5), np.zeros((1, 6))), np.full(6, 0.5))
ARRAYS = ("branch", "function", "point", "points")


def _with_leaves(**changes):
    return replace(GOOD, leaves=replace(GOOD.leaves, **changes))


def _with_function(**changes):
    return _with_leaves(functions=(replace(GOOD.leaves.functions[0], **changes),))


ODD = [
    Odd(),
    "a proof",
    replace(GOOD, bound="nan"),
    replace(GOOD, bound=None),
    replace(GOOD, bound=10**400),
    replace(GOOD, kind="leaves"),
    replace(GOOD, kind="none"),
    replace(GOOD, mask=[True] * 6),
    replace(GOOD, mask=np.ones((6, 6), bool)),
    replace(GOOD, mask=np.ones(6)),
    replace(GOOD, leaves=None),
    replace(GOOD, leaves=Odd()),
    replace(GOOD, rows=(GOOD,)),
    replace(GOOD, rows=None),
    replace(GOOD, row="0"),
    replace(GOOD, height=0),
    replace(GOOD, passes="many"),
    replace(GOOD, kind=ProofKind.SHIFT),
    replace(GOOD, kind=ProofKind.SHARED_BUDGET, leaves=None, rows=(GOOD,)),
    replace(GOOD, shared=SharedShift(np.zeros(6), np.zeros(6, np.float32))),
    *(_with_leaves(**{name: value}) for name in ARRAYS for value in (None, [0], Odd())),
    *(_with_leaves(**{name: np.array(0, "f4")}) for name in ARRAYS),
    *(_with_leaves(**{name: np.zeros((1, 1, 1), "i4")}) for name in ARRAYS),
    *(_with_leaves(**{name: np.array([Odd()], object)}) for name in ARRAYS),
    _with_leaves(functions=()),
    _with_leaves(functions=(), function=np.array([-1], np.int16)),
    _with_leaves(functions=[GOOD.leaves.functions[0]]),
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
    _with_function(triangles=Triangles(np.zeros((1, 3), "i4"), np.zeros(1, "i2"), np.ones(1))),
    _with_function(triangles=Triangles(np.zeros((1, 2), "i4"), np.zeros(1, "i2"), np.ones(1))),
    _with_function(triangles=Triangles(np.array([[-2, 0, 1]], "i4"), np.zeros(1, "i2"), np.ones(1))),
    _with_function(triangles=Triangles(np.array([[0, 1, 6]], "i4"), np.zeros(1, "i2"), np.ones(1))),
    _with_function(triangles=Triangles(np.array([[0, 1, 2]], "i4"), np.full(1, 3, "i2"), np.ones(1))),
    _with_function(triangles=Triangles(np.array([[0, 1, 2]], "i4"), np.zeros(2, "i2"), np.ones(1))),
    _with_function(triangles=Triangles(np.array([[0, 1, 2]], "i4"), np.zeros(1, "i2"), -np.ones(1))),
]  # fmt: skip


def test_the_proof_that_the_odd_ones_are_made_of_holds():
    assert certify_row(PART, None, proof=GOOD).bound_kind is BoundKind.CHECKED


@pytest.mark.parametrize("number", range(len(ODD)))
def test_a_malformed_proof_of_a_solver_is_a_row_without_a_bound(number):
    found = certify_row(PART, PART.legal.prune_lowest(PART.weight**2), proof=ODD[number])
    assert found.bound_kind is BoundKind.TRIVIAL
    assert found.bound == 0.0
    assert found.verdict is Verdict.FEASIBLE
    assert found.reason.startswith("proof rejected")

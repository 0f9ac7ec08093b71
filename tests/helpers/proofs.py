"""Proofs to check: random functions, trees and mutations, and a root bound in exact arithmetic."""

from dataclasses import replace
from fractions import Fraction

import numpy as np
import pytest

from maskgap.benchmarks.verify.check import check_part
from maskgap.instances.convex_function import ConvexFunction
from maskgap.instances.errors import ProofError
from maskgap.instances.formats.evidence.enumeration import Enumeration
from maskgap.instances.formats.evidence.leaves import Leaves
from maskgap.instances.formats.proof import PartProof
from maskgap.instances.masks.patterns import parse_pattern
from maskgap.instances.masks.state import FREE, KEPT, PRUNED
from maskgap.instances.problem import Problem
from maskgap.solvers.frank_wolfe import hull
from maskgap.solvers.objectives import convexify
from maskgap.solvers.objectives.protocol import Quadratic
from maskgap.solvers.protocol import Deadline
from tests.helpers.tiny import brute_force, random_layer


def make_problem(seed, n=8, pattern="50%", tokens=None):
    return Problem.of(random_layer(seed, n, tokens=tokens), parse_pattern(pattern)).part_of(0)


def optimum_of(problem):
    groups = problem.groups
    return brute_force(problem.weight, problem.layer.gram, groups.size, groups.pruned)[0]


def whole(part):
    """The problem that a part is all of."""
    return Problem.of(part.layer, parse_pattern(part.pattern), part.rows)


def row_proof(problem, leaves, bound=0.0, mask=None):
    return PartProof(problem.row, problem.digest, bound, mask, leaves)


def random_functions(problem, rng, count=2):
    groups = problem.groups
    for size in (0.0, 0.01, 0.05)[:count]:
        wild = ConvexFunction(
            size * rng.normal(size=groups.n), size * rng.normal(size=(groups.count, groups.n))
        )
        yield convexify.repair(problem.quad, groups, wild)


def near_minimiser(problem, function, rng):
    """A point whose bound is mostly positive; random ones bound nothing."""
    convex = Quadratic(*convexify.quadratic(problem.quad, problem.groups, function))
    best = hull.minimise(convex, problem.groups, Deadline(9.0), iterations=50).x
    return np.clip(best + 0.02 * rng.normal(size=len(best)), 0.0, 1.0)


def own_points(function):
    """Each leaf with a function has the next point to itself."""
    bounded = np.asarray(function) >= 0
    return np.where(bounded, np.cumsum(bounded) - 1, -1).astype(np.int32)


def random_tree(problem, rng, functions, depth=4):
    """Leaves of a random tree; leaves with one mask left get no function half of the time."""
    groups = problem.groups
    branch, function, points = [], [], []

    def grow(state, level):
        free = np.flatnonzero(state == FREE)
        if level and len(free) and rng.random() < 0.85:
            column = int(rng.choice(free))
            branch.append(column)
            for side in (KEPT, PRUNED):
                child = state.copy()
                child[column] = side
                grow(child, level - 1)
            return
        branch.append(-1)
        if masks_left(groups, state) <= 1 and rng.random() < 0.5:
            function.append(-1)
            return
        function.append(int(rng.integers(len(functions))))
        points.append(near_minimiser(problem, functions[function[-1]], rng))

    grow(np.zeros(groups.n, dtype=int), depth)
    return Leaves(
        functions,
        np.array(branch, dtype=np.int32),
        np.array(function, dtype=np.int16),
        own_points(function),
        np.array(points, dtype=np.float32).reshape(-1, groups.n),
    )


def masks_left(groups, state):
    sets = np.concatenate(list(groups.enumerate_pruned()))
    fits = (sets | (state != PRUNED)) & (~sets | (state != KEPT))
    return int(fits.all(axis=1).sum())


def exact_root_bound(problem, function, point):
    """b(x) of the root in exact arithmetic, from weights, Gram and multipliers as stored.

    Written as F(x) + min over legal v of F'(x) (v - x), each term of F from its own formula.
    """
    n, groups = problem.n, problem.groups
    scale = Fraction(2) ** -problem.exponent
    w = [Fraction(v) for v in problem.weight.tolist()]
    gram = [[Fraction(v) for v in line] for line in problem.layer.gram.tolist()]
    u = [Fraction(v) for v in function.u.tolist()]
    alpha = [[Fraction(v) for v in line] for line in function.alpha.tolist()]
    x = [Fraction(float(v)) for v in point]
    of = [j // groups.size for j in range(n)]
    matrix = [
        [
            w[i] * w[j] * gram[i][j] * scale
            + (alpha[of[j]][i] + alpha[of[i]][j]) / 2
            - (u[i] if i == j else 0)
            for j in range(n)
        ]
        for i in range(n)
    ]
    px = [sum(matrix[i][j] * x[j] for j in range(n)) for i in range(n)]
    q = [u[i] - groups.pruned * sum(line[i] for line in alpha) for i in range(n)]
    value = sum(x[i] * (px[i] + q[i]) for i in range(n))
    slope = [2 * px[i] + q[i] for i in range(n)] + [Fraction(0)]  # the last: of the constant
    triangles = function.triangles
    for columns, apex, weight in zip(
        triangles.columns.tolist(), triangles.apex.tolist(), triangles.weight.tolist(), strict=True
    ):
        term, slopes = triangle_term([*x, Fraction(1)], columns, apex)
        value -= Fraction(weight) * term
        for column, own in zip(columns, slopes, strict=True):
            slope[column] -= Fraction(weight) * own
    lowest = sum(
        sum(sorted(slope[g * groups.size : (g + 1) * groups.size])[: groups.pruned])
        for g in range(groups.count)
    )
    return value + lowest - sum(x[i] * slope[i] for i in range(n))


def triangle_term(values, columns, apex):
    """A triangle's term at values (the last is the constant's) and its three derivatives."""
    if apex == -1:
        a, b, c = (values[j] for j in columns)
        return a * b + a * c + b * c - a - b - c + 1, [b + c - 1, a + c - 1, a + b - 1]
    rest = [i for i in range(3) if i != apex]
    a, b, c = (values[columns[i]] for i in (*rest, apex))
    slopes = {rest[0]: b - c, rest[1]: a - c, apex: 1 - a - b}
    return c + a * b - a * c - b * c, [slopes[i] for i in range(3)]


def good_proof(seed=2, n=8, pattern="50%"):
    """A problem, a three-leaf proof with its largest supportable bound, and the optimum."""
    problem = make_problem(seed, n, pattern)
    (function,) = random_functions(problem, np.random.default_rng(seed), 1)
    return problem, three_leaves(problem, function), optimum_of(problem)


def three_leaves(problem, function):
    """A proof of three leaves with its largest supportable bound."""
    convex = Quadratic(*convexify.quadratic(problem.quad, problem.groups, function))
    x = hull.minimise(convex, problem.groups, Deadline(9.0)).x
    leaves = Leaves(
        (function,),
        np.array([0, -1, 3, -1, -1], dtype=np.int32),
        np.zeros(3, dtype=np.int16),
        own_points(np.zeros(3)),
        np.repeat(x[None, :], 3, axis=0).astype(np.float32),
    )
    proof = row_proof(problem, leaves)
    return replace(proof, bound=check_part(problem, proof).bound)


def mutate_leaves(proof, **changes):
    return replace(proof, evidence=replace(proof.evidence, **changes))


def rejected(problem, proof, reason):
    with pytest.raises(ProofError, match=reason):
        check_part(problem, proof)


def enumerated(problem):
    """Proofs by enumeration of all parts, with the bounds that they give."""
    found = []
    for part in problem:
        proof = PartProof(part.row, part.digest, 0.0, None, Enumeration(), height=part.height)
        found.append(replace(proof, bound=check_part(part, proof).bound))
    return found

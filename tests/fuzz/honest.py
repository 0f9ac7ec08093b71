"""Proof files to alter: honest ones of every kind and pattern, and some that overflow."""

import shutil
from dataclasses import dataclass, replace
from fractions import Fraction
from functools import cache
from multiprocessing.util import Finalize
from pathlib import Path
from tempfile import mkdtemp

import numpy as np

from maskgap.benchmarks.commands.objective_options import DEFAULT_OBJECTIVE, ObjectiveOptions
from maskgap.benchmarks.verify.check import check_part
from maskgap.instances.errors import InputError
from maskgap.instances.formats.evidence.shared_budget import RowProof, SharedBudget
from maskgap.instances.formats.evidence.trivial import trivial_proof
from maskgap.instances.formats.files import write_layer
from maskgap.instances.formats.proof import PartProof
from maskgap.instances.formats.proof_file import write_proof
from maskgap.instances.formats.tensors import read_tensors
from maskgap.instances.layer import Layer
from maskgap.instances.masks.groups import BudgetGroups
from maskgap.instances.masks.patterns import parse_pattern
from maskgap.instances.objective import objective_spec
from maskgap.instances.problem import Part, Problem
from maskgap.solvers import registry
from maskgap.solvers.bounds.relaxations import SdpBound
from maskgap.solvers.protocol import Deadline, Limits, solve_batch, solve_part
from tests.fuzz.families import arrays
from tests.helpers.exact import losses
from tests.helpers.hostile import overflowing, rooted, with_matrix
from tests.helpers.legal_masks import legal_pruned
from tests.helpers.refit_proofs import refit_proof, refit_shared, refit_tree
from tests.helpers.subtree_proofs import subtree_proof

FAMILIES = ("plain", "few tokens", "whole numbers", "repeated", "simplex", "balanced")

TREE = ("fw-bnb", {"convexify": "eig", "triangle_nodes": "0", "node_tolerance": "0.05"})
DEEP = ("fw-bnb", {"convexify": "none", "heuristics": "none"})
TRIANGLES = ("sdp-bound", {"triangle_rounds": "3"})
SHARED = ("shared-budget", {})
TRIVIAL = ("trivial", {})
SUBTREES = ("subtrees", {"depth": 3})
"""Not a solver: functions that hold in subtrees, made with numpy."""
REFIT = ("refit", {"ridge": 0.01})
HEAVY = ("refit", {"ridge": 1.0})

KINDS = (  # pattern, rows, columns, what proves it
    ("50%", 2, 6, TREE),
    ("50%", 1, 8, DEEP),
    ("2:4", 2, 8, DEEP),
    ("keep=3", 1, 7, TRIANGLES),
    ("2:4", 1, 8, TRIANGLES),
    ("50%", 3, 6, ("shift-bound", {})),
    ("1:2", 2, 6, ("shift-bound", {"precision": "float64"})),
    ("50%", 2, 6, ("exhaustive", {})),
    ("layer:50%", 2, 4, SHARED),
    ("layer:25%", 2, 4, SHARED),
    ("layer:50%", 2, 4, TREE),
    ("1:2^T", 2, 4, TREE),
    ("1:2^T", 4, 4, ("exhaustive", {})),
    ("50%;cost=50%", 2, 6, TREE),
    ("50%;block=2", 1, 8, DEEP),
    ("50%;cap=2/3+2", 1, 6, TREE),
    ("50%;forced", 2, 6, TRIANGLES),
    ("100%", 2, 5, TREE),
    ("0%", 1, 5, TREE),
    ("50%", 2, 6, TRIVIAL),
    ("50%", 2, 6, REFIT),
    ("2:4", 1, 8, HEAVY),
    ("50%;block=2", 1, 6, REFIT),
    ("50%;forced", 2, 6, HEAVY),
    ("1:2^T", 2, 4, REFIT),
    ("layer:50%", 2, 4, REFIT),
    ("keep=2;cap=1/2", 1, 6, HEAVY),
    ("50%", 1, 8, SUBTREES),
    ("2:4", 2, 8, SUBTREES),
    ("keep=3", 1, 7, SUBTREES),
    ("50%;block=2", 1, 8, SUBTREES),
    ("50%;cost=50%", 2, 6, SUBTREES),
    ("50%;forced", 2, 6, SUBTREES),
    ("layer:50%", 2, 4, SUBTREES),
    ("1:2^T", 2, 4, SUBTREES),
)


@dataclass(frozen=True)
class Honest:
    """A layer, the file of its proofs, and the exact optimum of each part by its first row.

    tensors, meta: of the file, the digest left out. instance: the layer's file.
    """

    layer: Layer
    problem: Problem
    proofs: tuple[PartProof, ...]
    tensors: dict[str, np.ndarray]
    meta: dict[str, str]
    instance: Path
    optima: dict[int, Fraction]

    @property
    def asked(self):
        """The options of its objective."""
        objective = self.problem.objective
        return ObjectiveOptions("refit", objective.ridge) if objective.refits else DEFAULT_OBJECTIVE

    @property
    def pattern(self):
        return self.problem.pattern.text


@cache
def honest():
    """All of them, made once a process."""
    folder = Path(mkdtemp(prefix="maskgap-fuzz-"))
    # at the end of this process, a worker of a pool too
    Finalize(None, shutil.rmtree, (folder, True), exitpriority=1)
    found = []
    for number, (pattern, rows, n, by) in enumerate(KINDS):
        for family in (FAMILIES[number % 6], FAMILIES[(number + 1 + number // 6) % 6]):
            problem = _problem(family, pattern, rows, n, number)
            if by[0] == "refit":
                problem = problem.under(objective_spec("refit", by[1]["ridge"]))
            proofs = _proofs(problem, *by)
            if proofs is not None:
                optima = {
                    part.row: min(losses(part, legal_pruned(part.layer, pattern, part.rows)))
                    for part in problem
                }
                found.append(_written(folder / str(len(found)), problem, proofs, optima))
    for size in (1.0, 2.0**92):
        for chain in (False, True):
            found.append(_diagonal(folder / str(len(found)), size, chain))
    return tuple(found)


def _diagonal(folder, size, chain):
    """A row of 64 equal columns that share no input, 8 of them kept: every mask loses 56.

    Its function is the loss itself, or one whose factorisation overflows.
    """
    layer = Layer.from_arrays(np.ones((1, 64)), np.eye(64))
    problem = Problem.of(layer, parse_pattern("keep=8"))
    (part,) = problem
    target = size * overflowing(64) if chain else np.zeros((64, 64))
    function = with_matrix(part, target, size if chain else part.quad[0, 0])
    proof = rooted(part, function, np.full(64, 0.5))
    return _written(folder, problem, [proof], {0: Fraction(56)})


def _problem(family, pattern, rows, n, number):
    for seed in range(20):
        rng = np.random.default_rng([22, number, seed])
        weight, gram = arrays(family, rng, rows, n)
        forced = np.where(rng.random((rows, n)) < 0.2, rng.choice([-1, 1]), 0)
        cost = rng.integers(1, 9, n)
        layer = Layer.from_arrays(weight, gram, column_cost=cost, forced=forced)
        try:
            return Problem.of(layer, parse_pattern(pattern))
        except InputError:  # no mask under these costs and forced columns
            continue
    raise AssertionError(f"no layer of family {family} for {pattern}")


def _proofs(problem, name, settings):
    """One proof a part, or None where the solver has none for a part."""
    limits = Limits(Deadline(60.0))
    if name == TRIVIAL[0]:
        return [replace(trivial_proof(part), mask=_first_mask(part)) for part in problem]
    if name == SHARED[0]:
        return [_shared(part, limits) for part in problem]
    if name == SUBTREES[0]:
        return [_subtrees(part, **settings) for part in problem]
    if name == "refit":
        return [_refit(part) for part in problem]
    solver = registry.build(name, settings)
    if registry.spec_of(name).batched:
        answers = solve_batch(solver, problem, limits, 0)
    else:
        answers = [solve_part(solver, part, limits, 0) for part in problem]
    proofs = [answer.proof for answer in answers]
    return None if None in proofs else proofs


def _first_mask(part):
    return part.legal.prune_lowest(np.zeros(part.n))


def _shared(part, limits):
    n, rows = part.layer.d_in, []
    for row in part.rows:
        for budget in sorted({1, part.legal.total_pruned // part.height}):
            alone = Part(part.layer, row, f"keep={n - budget}", BudgetGroups(n, n, budget))
            solver = SdpBound(beside=True, triangle_rounds=row)
            proof = solve_part(solver, alone, limits, 0).proof
            rows.append(RowProof(budget, replace(proof, bound=0.0, mask=None)))
    return PartProof(
        part.row, part.digest, 0.0, _first_mask(part), SharedBudget(tuple(rows)),
        height=part.height,
    )  # fmt: skip


def _subtrees(part, depth):
    """The first of some random trees that proves something, else the last."""
    pruned = legal_pruned(part.layer, part.pattern, part.rows)
    for seed in range(9):
        rng = np.random.default_rng([25, part.row, part.n, seed])
        proof = subtree_proof(part, pruned, rng, depth, mask=_first_mask(part))
        bound = check_part(part, proof).bound
        if bound > 0.0:
            break
    return replace(proof, bound=bound)


def _refit(part):
    rng = np.random.default_rng([24, part.row, part.n])
    shared = part.pattern.startswith("layer:")
    evidence = refit_shared(part, rng) if shared else refit_tree(part, rng)
    proof = refit_proof(part, evidence, mask=_first_mask(part))
    return replace(proof, bound=check_part(part, proof).bound)


def _written(folder, problem, proofs, optima):
    folder.mkdir()
    instance = folder / "layer.safetensors"
    write_layer(instance, problem.layer)
    path = folder / "honest.proof.safetensors"
    write_proof(path, problem, proofs)
    tensors, meta = read_tensors(path)
    del meta["digest"]
    return Honest(problem.layer, problem, tuple(proofs), tensors, meta, instance, optima)

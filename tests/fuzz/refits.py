"""One seeded problem under refit: a proof made with numpy, and altered ones, judged exactly."""

from dataclasses import replace
from fractions import Fraction

import numpy as np

from maskgap.benchmarks.verify.check import check_part
from maskgap.instances.errors import InputError, ProofError
from maskgap.instances.formats.evidence.shared_budget import SharedBudget
from maskgap.instances.objective import objective_spec
from tests.fuzz.problems import draw
from tests.fuzz.runs import Tally
from tests.helpers.exact import losses
from tests.helpers.exact_checker import exact_bound
from tests.helpers.exact_functions import Rejected
from tests.helpers.legal_masks import legal_pruned
from tests.helpers.refit_proofs import altered, refit_proof, refit_shared, refit_tree

COLUMNS = 8
"""Most columns of a part, whose masks are all refitted exactly."""

ALTERED = 6
"""Altered proofs of each problem."""

RIDGES = (0.01, 0.01, 1.0, 1e-4, 1e-9, 0.0, 30.0)


def run_refit(seed):
    """The tally of the problem of a seed."""
    tally, drawn, rng = Tally(), draw(seed), np.random.default_rng([25, seed])
    if drawn.problem is None:
        return tally
    ridge = float(rng.choice(RIDGES))
    about = f"refit seed {seed}, {drawn.family}, {drawn.pattern}, ridge {ridge:g}"
    try:
        problem = drawn.problem.under(objective_spec("refit", ridge))
    except InputError:  # not definite as far as float64 shows
        tally.counts["refused"] += 1
        return tally
    part = list(problem)[int(rng.integers(len(problem)))]
    if part.n > COLUMNS:
        return tally
    tally.counts["problems"] += 1
    tally.counts[drawn.kind] += 1
    pruned = legal_pruned(part.layer, part.pattern, part.rows)
    optimum = min(losses(part, pruned))
    evidence = _evidence(part, rng)
    if evidence is None:
        tally.counts["no proof"] += 1
        return tally
    good = _judge(part, pruned, evidence, optimum, about, tally)
    tally.counts["honest, accepted" if good else "honest, refused"] += 1
    for _ in range(ALTERED):
        other = _altered(rng, evidence)
        held = _judge(part, pruned, other, optimum, f"{about}, altered", tally)
        tally.counts["altered, accepted" if held else "altered, refused"] += 1
    return tally


def _evidence(part, rng):
    """A random proof; None where numpy cannot make one."""
    shared = part.pattern.startswith("layer:")
    try:
        with np.errstate(all="ignore"):
            return refit_shared(part, rng) if shared else refit_tree(part, rng)
    except np.linalg.LinAlgError:
        return None


def _altered(rng, evidence):
    """One to three changes of a tree, or of that of a row."""
    if not isinstance(evidence, SharedBudget):
        for _ in range(int(rng.integers(1, 4))):
            evidence = altered(rng, evidence)
        return evidence
    rows = list(evidence.rows)
    place = int(rng.integers(len(rows)))
    own = rows[place].proof
    rows[place] = replace(rows[place], proof=replace(own, evidence=altered(rng, own.evidence)))
    return SharedBudget(tuple(rows))


def _judge(part, pruned, evidence, optimum, about, tally):
    """Whether the checker accepts; then its bound holds, and the second checker has no less."""
    proof = refit_proof(part, evidence)
    try:
        bound = Fraction(check_part(part, proof).bound)
    except ProofError:
        return False
    if bound > optimum:
        tally.counts["false accepts"] += 1
        tally.faults.append(f"{about}: bound {float(bound)}, optimum {float(optimum)}")
        return True
    try:
        exact = exact_bound(part, pruned, proof)
    except Rejected as reason:
        tally.faults.append(f"{about}: the second checker rejects it: {reason}")
        return True
    if exact < bound:
        tally.faults.append(f"{about}: {float(bound)}, the second checker has {float(exact)}")
    return True

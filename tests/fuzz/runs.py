"""One solver on one problem, certified as any run is, and judged by listing every mask exactly."""

from collections import Counter
from dataclasses import dataclass, field, replace
from fractions import Fraction

import numpy as np

from maskgap.benchmarks.runs.child import run_task
from maskgap.benchmarks.runs.judge import Judged, judge, parts_of
from maskgap.benchmarks.runs.task import RunLimits, Task
from maskgap.benchmarks.verify.certificate import BoundKind, Verdict, certify_part
from maskgap.instances.arrays import Kept
from maskgap.instances.formats.evidence.shared_budget import RowProof, SharedBudget
from maskgap.instances.formats.proof import PartProof
from maskgap.instances.masks.groups import BudgetGroups
from maskgap.instances.problem import Part
from maskgap.solvers import registry
from maskgap.solvers.bounds.relaxations import SdpBound
from maskgap.solvers.frank_wolfe.variants import VARIANTS
from maskgap.solvers.protocol import Answer, Deadline, Limits, Stop, solve_part
from maskgap.solvers.tree.choices import BRANCHING, HEURISTICS, HULLS, TRAVERSALS
from tests.fuzz.problems import draw, refusal_is_right
from tests.helpers.exact import losses
from tests.helpers.exact_checker import exact_bound
from tests.helpers.exact_functions import Rejected
from tests.helpers.legal_masks import legal_pruned
from tests.helpers.subtree_proofs import subtree_proof

GAP = 1e-6
LIMIT_S = 3.0

SHARED = "shared-budget"
"""Not a solver: proofs of the rows of a `layer:P%`, put together."""

SUBTREES = "subtrees"
"""Not a solver: trees of functions that hold in subtrees, made with numpy."""

WEIGHTS = {
    "fw-bnb": 30, "sdp-bound": 9, "qp-bound": 9, "shift-bound": 5, "lowrank-bound": 5,
    "exhaustive": 8, SHARED: 16, SUBTREES: 14,
    "swap": 4, "search": 4, "random": 1, "magnitude": 1, "wanda": 1, "ria": 1, "obs": 1,
    "sparsegpt": 1, "obs-greedy": 1, "alps": 1, "dsnot": 1, "sparsefw": 0.6, "fw-bnb-highs": 0.7,
    "fw-bnb-scip": 0.7, "scip-miqp": 0.5, "scip-factor": 0.5, "highs-milp": 0.8, "highs-oa": 0.5,
    "cvxpy-miqp": 0.3,
}  # fmt: skip
"""How often a solver is drawn: those with proofs of their own most, slow ones seldom."""


@dataclass
class Tally:
    """What was done, and every fault found, in words."""

    counts: Counter[str] = field(default_factory=Counter)
    pairs: Counter[tuple[str, str]] = field(default_factory=Counter)
    faults: list[str] = field(default_factory=list)

    def add(self, other):
        self.counts.update(other.counts)
        self.pairs.update(other.pairs)
        self.faults += other.faults


def run_problem(seed):
    """The tally of the problem of a seed under one solver."""
    tally = Tally()
    drawn = draw(seed)
    tally.counts["problems"] += 1
    if drawn.problem is None:
        tally.counts["refused"] += 1
        if not refusal_is_right(drawn):
            tally.faults.append(f"seed {seed}: refused, but there are masks: {drawn.refusal}")
        return tally
    rng = np.random.default_rng([21, seed])
    solver, settings = solver_of(rng, drawn.problem)
    tally.pairs[solver, drawn.kind] += 1
    about = f"seed {seed}, {drawn.family}, {drawn.pattern}, {solver} {settings}"
    for judged in _judged(drawn.problem, solver, settings, seed, rng):
        _compare(judged, about, tally)
    return tally


def solver_of(rng, problem):
    taken = [name for name in WEIGHTS if _takes(name, problem)]
    weights = np.array([WEIGHTS[name] for name in taken])
    name = str(rng.choice(taken, p=weights / weights.sum()))
    return name, {key: str(value) for key, value in _settings(rng, name).items()}


def _takes(name, problem):
    if name == SHARED:
        return problem.pattern.text.startswith("layer:")
    if name == SUBTREES:
        return True
    spec = registry.spec_of(name)
    return spec.missing is None and registry.refusal(spec, problem.pattern) is None


def _settings(rng, name):
    """Settings other than the defaults, half of the time."""
    if name == "search":
        return {"population": 16}
    if name == "sparsefw":
        return {"iterations": 100}
    if name == "sdp-bound":
        return {"triangle_rounds": int(rng.choice([0, 1, 3]))}
    if name == "lowrank-bound":
        return {"triangle_rounds": int(rng.choice([0, 1, 3])), "iterations": 200}
    if name == "shift-bound":
        shifts = ("proximal", "none", "eig")
        return {"shift": rng.choice(shifts), "precision": rng.choice(["float32", "float64"])}
    if name == "fw-bnb" and rng.random() < 0.5:
        return {
            "convexify": rng.choice(["none", "eig", "diag", "sdp", "sdp-triangles"]),
            "triangle_nodes": rng.choice([0, 1, 3, 20]),
            "variant": rng.choice(VARIANTS),
            "branching": rng.choice(BRANCHING),
            "traversal": rng.choice(TRAVERSALS),
            "heuristics": rng.choice(HEURISTICS),
            "fixing": bool(rng.integers(2)),
            "lazy": bool(rng.integers(2)),
            "inherit": bool(rng.integers(2)),
            "node_tolerance": rng.choice([0.05, 0.3, 2.0, 10.0]),
            "hull": rng.choice(HULLS),
            "max_nodes": rng.choice([-1, -1, 1, 3, 9]),
        }
    return {}


def _judged(problem, solver, settings, seed, rng):
    """Certified answers: of all rows for a batch solver, of one part drawn for others."""
    parts = parts_of(problem)
    if solver == SHARED:
        return [_shared(next(iter(problem)), rng)]
    if solver == SUBTREES:
        own = list(problem)
        return [_subtrees(own[int(rng.integers(len(own)))], rng)]
    whole = registry.spec_of(solver).batched
    chosen = problem if whole else parts[int(rng.integers(len(parts)))]
    task = Task(chosen, solver, settings, RunLimits(LIMIT_S, GAP, seed=seed))
    outcome = run_task(task)
    if outcome.exception is not None and outcome.answers[0].stop is not Stop.REFUSED:
        raise AssertionError(f"{solver} {settings}: {outcome.exception}\n{outcome.traceback}")
    return judge(task, outcome)


def _shared(part, rng):
    """A proof of a shared budget from relaxations of its rows under budgets near the mean one."""
    n, limits = part.layer.d_in, Limits(Deadline(LIMIT_S))
    rows = []
    for row in part.rows:
        for _ in range(int(rng.integers(1, 3))):
            near = round(part.legal.total_pruned / part.height) + int(rng.integers(-1, 2))
            budget = min(n, max(0, near))
            alone = Part(part.layer, row, f"keep={n - budget}", BudgetGroups(n, n, budget))
            solver = SdpBound(beside=True, triangle_rounds=int(rng.choice([0, 2])))
            proof = solve_part(solver, alone, limits, 0).proof
            rows.append(RowProof(budget, replace(proof, bound=0.0, mask=None)))
    proof = PartProof(
        part.row, part.digest, 0.0, None, SharedBudget(tuple(rows)), height=part.height,
    )  # fmt: skip
    mask = part.legal.prune_lowest(part.weight**2)
    answer = Answer(mask, Stop.FINISHED, proof=proof)
    return Judged(part, answer, certify_part(part, mask, proof=proof, tolerance=GAP), 0.0)


def _subtrees(part, rng):
    """A random tree, with the first mask that is legal."""
    pruned = legal_pruned(part.layer, part.pattern, part.rows)
    proof = subtree_proof(part, pruned, rng, depth=int(rng.integers(1, 4)))
    mask = Kept(~pruned[0])
    answer = Answer(mask, Stop.FINISHED, proof=proof)
    return Judged(part, answer, certify_part(part, mask, proof=proof, tolerance=GAP), 0.0)


def _compare(judged, about, tally):
    """Hold a certificate against all masks of its part; faults go to the tally."""
    part, certificate, answer = judged.problem, judged.certificate, judged.answer
    pruned = legal_pruned(part.layer, part.pattern, part.rows)
    own = {mask.tobytes(): loss for mask, loss in zip(pruned, losses(part, pruned), strict=True)}
    optimum, counts = min(own.values()), tally.counts
    counts["runs"] += 1
    counts[str(certificate.verdict)] += 1
    counts[str(certificate.bound_kind)] += 1

    def fault(what, accepted=False):
        counts["false accepts"] += accepted
        tally.faults.append(
            f"{about}, row {part.row}: {what}; certificate {certificate}, optimum {float(optimum)}"
        )

    theirs = {mask.tobytes() for block in part.legal.enumerate_pruned() for mask in block}
    if theirs != own.keys():
        fault(f"{len(theirs)} masks, not {len(own)}")
    bound = Fraction(certificate.bound)
    if certificate.bound_kind is not BoundKind.CLAIMED and bound > optimum:
        fault("a checked bound above the optimum", accepted=True)
    if certificate.reason.startswith("proof rejected"):
        counts["proofs rejected"] += 1
    elif answer.proof is not None:
        _second(part, pruned, answer.proof, bound, fault, counts)
    if answer.mask is None:
        return
    loss = own.get((~answer.mask).tobytes())
    if loss is None:
        fault("an illegal mask", accepted=True)
        return
    low = getattr(certificate, "objective_low", None)
    if low is not None and not Fraction(low) <= loss <= Fraction(certificate.objective_high):
        fault(f"the exact loss {float(loss)} outside its interval")
    if certificate.verdict is Verdict.PROVED and loss - optimum > Fraction(GAP) * loss:
        fault(f"proved with the loss {float(loss)}", accepted=True)
    if certificate.verdict is Verdict.WRONG and bound <= loss:
        fault(f"wrong, with the loss {float(loss)}")


def _second(part, pruned, proof, bound, fault, counts):
    """The second checker accepts, and bounds no less."""
    counts["second"] += 1
    counts[proof.evidence.kind] += 1
    try:
        exact = exact_bound(part, pruned, proof)
    except Rejected as reason:
        fault(f"the second checker rejects its proof: {reason}")
        return
    if exact < bound:
        fault(f"the second checker proves {float(exact)} only")

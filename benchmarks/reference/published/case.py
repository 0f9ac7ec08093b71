"""Solvers on published instances: `python -m maskgap.benchmarks.reference.published.case`.

Reads requests, one line of JSON each ([SOLVER, FAMILY, SEED, SIZE, SECONDS, GAP]), and answers each
with one line of JSON; what solvers print themselves goes nowhere. Whole variables of the point are
rounded, and its objective is that of the instance's own formula. The clock stands outside of
drawing the instance and loading the solver, and a family begins with a small instance whose times
nobody sees, so that kernels are compiled; processor time is of the process with its threads.
"""

import json
import os
import sys
import time
from dataclasses import dataclass
from importlib import import_module
from math import isfinite
from typing import Any

import numpy as np

from maskgap.instances.arrays import Vector
from maskgap.instances.errors import Refused
from maskgap.instances.program import Program, QuadraticForm
from maskgap.instances.sources.published.instance import Instance
from maskgap.instances.sources.published.make import instance
from maskgap.solvers.native.programs.protocol import ProgramAnswer, ProgramLimits

OWN = "maskgap"

PLAIN = "maskgap, f alone"
"""Minimise with value and gradient alone, one node: the hull of big-M rows."""

PEERS = {
    "SHOT": ("SHOTpy", "maskgap.solvers.native.programs.shot:shot"),
    "SCIP cuts": ("pyscipopt", "maskgap.solvers.native.programs.scip_cuts:scip_cuts"),
    "Gurobi": ("gurobipy", "maskgap.solvers.native.programs.gurobi:gurobi"),
}
"""Package of each, and where it is run."""

SMALLEST = 6


@dataclass(frozen=True, slots=True)
class Ended:
    """What minimise says beyond an answer: bound of its first node, times of improvements."""

    answer: ProgramAnswer
    root_bound: float | None


def _minimise(solver: str, program: Program, limits: ProgramLimits) -> Ended:
    from maskgap.solvers.convex.minimise import minimise
    from maskgap.solvers.objectives.convex.quadratic import quadratic
    from maskgap.solvers.oracles.mixed.make import milp

    space, form = program.space, program.objective
    f: Any = form if solver == OWN else lambda x: form(x)
    if solver == OWN and isinstance(form, QuadraticForm):
        f = quadratic(form.matrix, form.linear, form.constant, form.diagonal)
    rows = milp(
        space.matrix, space.row_lower, space.row_upper, space.lower, space.upper,
        space.integral.astype(np.int64),
    )  # fmt: skip
    found = minimise(
        f, rows, gap=limits.gap, time_limit=limits.seconds, threads=limits.threads,
        node_limit=None if solver == OWN else 1,
    )  # fmt: skip
    answer = ProgramAnswer(found.x, str(found.stop), found.bound, found.nodes, found.oracle_calls)
    return Ended(answer, found.root_bound)


def _peer(solver: str, program: Program, limits: ProgramLimits) -> Ended:
    module, _, name = PEERS[solver][1].partition(":")
    return Ended(getattr(import_module(module), name)(program, limits), None)


def rounded(made: Instance, x: Vector) -> Vector:
    """The point with whole numbers where they have to be."""
    return np.where(made.program.space.integral, np.round(x), x)


def run_case(solver: str, made: Instance, limits: ProgramLimits) -> dict[str, object]:
    """What the solver ended with, judged."""
    own = solver in (OWN, PLAIN)  # what is imported here is loaded before the clock starts
    import_module("maskgap.solvers.convex.minimise" if own else PEERS[solver][1].partition(":")[0])
    since, spent = time.perf_counter(), time.process_time()
    told: dict[str, object] = {"solver": solver, "family": made.family, "seed": made.seed,
                               "size": made.size, "limit_s": limits.seconds}  # fmt: skip
    try:
        ended = (_minimise if own else _peer)(solver, made.program, limits)
    except Refused as error:
        return {**told, "stop": "refused", "reason": str(error)}
    seconds, cpu = time.perf_counter() - since, time.process_time() - spent
    answer, root = ended.answer, ended.root_bound
    x = None if answer.x is None else rounded(made, answer.x)
    return {
        **told,
        "stop": answer.stop,
        "objective": None if x is None else made.worth(x),
        "violation": None if x is None else made.program.space.violation(x),
        "claimed_bound": answer.claimed_bound if isfinite(answer.claimed_bound) else None,
        "root_bound": root if root is not None and isfinite(root) else None,
        "nodes": answer.nodes,
        "calls": answer.calls,
        "seconds": seconds,
        "cpu_s": cpu,
    }


def warm_up(solver: str, family: str) -> None:
    """Solve the smallest instance of a family."""
    if solver in (OWN, PLAIN):
        run_case(solver, instance(family, 1, f"dimension={SMALLEST}"), ProgramLimits())


def main() -> int:
    """Answer requests until there are none."""
    warm = set()
    with os.fdopen(os.dup(1), "w", encoding="utf-8") as answers, open(os.devnull, "wb") as nowhere:
        os.dup2(nowhere.fileno(), 1)
        for line in sys.stdin:
            solver, family, seed, size, seconds, gap = json.loads(line)
            if (solver, family) not in warm:
                warm_up(solver, family)
                warm.add((solver, family))
            limits = ProgramLimits(seconds, gap)
            told = run_case(solver, instance(family, seed, size), limits)
            print(json.dumps(told), file=answers, flush=True)
    return 0


if __name__ == "__main__":
    sys.exit(main())

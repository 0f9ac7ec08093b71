"""Records made up for tests of tables and figures."""

import json
from functools import cache

import numpy as np

from maskgap.benchmarks.runs.record import Record
from maskgap.benchmarks.runs.record_file import RECORDS_FILE, append_records
from maskgap.benchmarks.verify.check import CHECKER
from maskgap.solvers.registry import SPECS, build, settings_of


def record(solver="wanda", problem="p0", objective=10.0, **more):
    """A plausible record; keyword arguments replace its fields."""
    bound = more.get("bound", 0.0)
    fields = {
        "key": f"{solver}/{problem}/{more.get('seed', 0)}",
        "suite": "s",
        "group": "g",
        "instance": problem,
        "row": 0,
        "n": 8,
        "pattern": "50%",
        "problem": problem,
        "pruned_per_row": 4,
        "sparsity": 0.5,
        "solver": solver,
        "time_limit_s": 10.0,
        "stop": "finished",
        "verdict": "feasible" if objective is not None else "empty",
        "objective": objective,
        "bound": bound,
        "bound_kind": "trivial" if not bound else "claimed",
        "gap": None if objective is None else 1.0,
        "solve_s": 1.0,
        "packages": {"maskgap": "0"},
        "checker": CHECKER,
        **of_solver(solver),
    }
    return Record(**{**fields, **more})


@cache
def of_solver(name):
    """What a record says of a solver of the register; nothing of another."""
    if name not in SPECS:
        return {}
    spec = SPECS[name]
    return {
        "gives": spec.gives,
        "batched": spec.batched,
        "register_place": list(SPECS).index(name),
        "summary": spec.summary,
        "defaults": None if spec.missing else settings_of(build(name)),
    }


def closed(solver, problem, objective, **more):
    """A record whose solver claims the optimum."""
    claims = {"claimed_objective": objective, "claimed_bound": objective, "bound": objective,
              "verdict": "closed", "bound_kind": "claimed", "gap": 0.0}  # fmt: skip
    return record(solver, problem, objective, **{**claims, **more})


def wrong(solver, problem, objective, **more):
    """A record whose claimed bound lies above its own objective."""
    claims = {"claimed_objective": objective, "claimed_bound": 2 * objective}
    return record(
        solver, problem, objective, verdict="wrong", bound=2 * objective, **{**claims, **more}
    )


def write(directory, records):
    """A run's directory holding these records."""
    directory.mkdir(parents=True, exist_ok=True)
    append_records(directory / RECORDS_FILE, records)
    return directory


def old_line(solver="scip-miqp", problem="p0", objective=12.0):
    """A line as the first version of the schema might have written it: only what is required."""
    needed = ("key", "instance", "row", "n", "pattern", "problem", "pruned_per_row", "sparsity",
              "solver", "time_limit_s", "stop", "verdict", "objective")  # fmt: skip
    values = record(solver, problem, objective).model_dump()
    return json.dumps({name: values[name] for name in needed}) + "\n"


def mixed_run():
    """Three rows: a proving solver that fails on two, seeds, a zero, a refusal, a crash."""
    records = []
    for i, best in enumerate((10.0, 20.0, 0.0)):
        p = f"p{i}"
        records += [
            record("wanda", p, best * 2, objective_eval=best * 3),
            record("swap", p, best * 1.1, trace=[(0.01, best * 2, None), (0.5, best * 1.1, None)]),
            record("exhaustive", p, None, stop="refused", verdict="empty", bound=0.0),
            record("qp-bound", p, None, bound=best / 2, bound_kind="checked"),
        ]
        records += [record("random", p, best * (4 + s), seed=s) for s in range(3)]
        if i == 0:
            records.append(closed("scip-miqp", p, best, trace=[(0.2, best, best)]))
        else:
            records.append(record("scip-miqp", p, None, stop="time", solve_s=10.0))
    records.append(record("obs", "p0", None, stop="crashed", exception="boom"))
    return records


ERRORS = {"random": 5.0, "magnitude": 1.5, "wanda": 1.3, "ria": 1.8, "obs": 1.4, "swap": 1.05}
"""Typical error of a heuristic's mask over the least possible."""

GROWTH = {"exhaustive": 0.55, "scip-miqp": 0.13, "scip-factor": 0.11, "highs-milp": 0.16,
          "highs-oa": 0.12, "cvxpy-miqp": 0.14, "gurobi": 0.055}  # fmt: skip
"""Natural logarithm of a proving solver's time per column."""


SHARES = {"qp-bound": 0.6, "sdp-bound": 0.95}
"""Typical share of the optimum that a bound reaches."""

CAST = (*ERRORS, *GROWTH, *SHARES)
"""The solvers of `full_run`, whatever the register holds besides."""


def full_run(seed=0):
    """Fifteen solvers on two groups of rows, with held-out data and every kind of failure.

    Zeros, time-outs, refusals, crashes, refuted claims, rows not run and missing bounds.
    """
    rng = np.random.default_rng(seed)
    records = []
    for group, widths in (("narrow", (12, 16, 24, 32)), ("wide", (48, 64, 96, 160))):
        for n in widths:
            for pattern in ("50%", "2:4"):
                shared = {"group": group, "n": n, "pattern": pattern, "instance": f"layer-n{n}",
                          "time_limit_s": 5.0, "energy": 1e3 * n,
                          "energy_eval": 1e3 * n}  # fmt: skip
                zero = n == 16 and pattern == "2:4"
                best = 0.0 if zero else float(n * rng.lognormal(0.0, 0.7))
                for solver in CAST:
                    records += _of_solver(solver, f"{n}/{pattern}", best, n, rng, shared)
    return records


def _of_solver(solver, problem, best, n, rng, shared):
    spec = SPECS[solver]
    memory = int(2e8 + 1e6 * n)
    shared = {**shared, "peak_memory_bytes": memory}
    if spec.bound_only:
        share = SHARES[solver] * float(rng.uniform(0.9, 1.0))
        bound, seconds = share * best, float(0.002 * n * rng.lognormal(0, 0.3))
        if solver == "sdp-bound" and n == 160:
            return [record(solver, problem, None, stop="time", solve_s=5.0, **shared)]
        return [record(solver, problem, None, bound=bound, solve_s=seconds,
                       bound_kind="checked",
                       trace=[(seconds / 2, None, bound / 2), (seconds, None, bound)],
                       **shared)]  # fmt: skip
    if not spec.proves:
        found = []
        for seed in range(3 if spec.randomised else 1):
            error = best * max(1.0, ERRORS[solver] * float(rng.lognormal(0, 0.2)))
            if solver == "magnitude" and best == 0:
                error = 3.0
            seconds = float(1e-5 * n * rng.lognormal(0, 0.2) * (20 if solver == "swap" else 1))
            steps = [(seconds * s, error * (1.5 - 0.5 * s), None) for s in (0.1, 0.4, 1.0)]
            found.append(record(solver, problem, error, seed=seed, solve_s=seconds,
                                objective_eval=error * float(rng.uniform(0.95, 1.2)),
                                trace=steps if solver == "swap" else [], **shared))  # fmt: skip
        return found
    if solver == "exhaustive" and n > 24:
        return [record(solver, problem, None, stop="refused", solve_s=0.0, **shared)]
    if solver == "cvxpy-miqp" and n == 96:
        return []  # not run
    if solver == "highs-milp" and n == 64:
        return [record(solver, problem, None, stop="crashed", exception="signal 11", **shared)]
    if solver == "highs-oa" and n == 32:
        return [wrong(solver, problem, best * 1.1, **shared)]
    seconds = float(0.003 * np.exp(GROWTH[solver] * n) * rng.lognormal(0, 0.3))
    held_out = {"objective_eval": best * float(rng.uniform(1.0, 1.1))}
    if seconds < 5.0:
        proof = {"verdict": "proved", "bound_kind": "checked"} if solver == "exhaustive" else {}
        steps = [(seconds * 0.1, best * 2, 0.0), (seconds * 0.5, best * 1.1, best * 0.8),
                 (seconds, best, best)]  # fmt: skip
        return [closed(solver, problem, best, solve_s=seconds, trace=steps,
                       **held_out, **proof, **shared)]  # fmt: skip
    if solver == "scip-miqp" and n == 160:
        return [record(solver, problem, None, stop="time", solve_s=5.0, **shared)]
    error, bound = best * float(rng.uniform(1.0, 1.6)), best * float(rng.uniform(0.3, 0.9))
    return [record(solver, problem, error, stop="time", solve_s=5.0,
                   bound=0.0 if solver in ("exhaustive", "highs-milp") else bound, **held_out,
                   trace=[(0.5, error * 1.5, bound * 0.5), (4.0, error, bound)],
                   **shared)]  # fmt: skip


def choice(problem, solved=True, seconds=1.0, nodes=40, calls=90, group="choices", **changed):
    """A run of fw-bnb with some settings changed from their defaults; unsolved: gap 50 %."""
    own = {
        "group": group,
        "key": f"{group}/{problem}/{sorted(changed.items())}",
        "settings": {**settings_of(build("fw-bnb")), **changed},
        "counters": {"nodes": nodes, "steps": 5 * nodes, "oracle_calls": calls},
        "solve_s": seconds,
        "bound_kind": "checked",
    }
    if solved:
        return closed("fw-bnb", problem, 10.0, **{**own, "verdict": "proved"})
    return record("fw-bnb", problem, 10.0, stop="time", bound=5.0, **own)


def choices_run():
    """Two groups: choices on two rows, one of them cut off; and root bounds, none of them a proof.

    More choices than most figures show.
    """
    records = [record("wanda", p, 20.0, group="choices") for p in ("p0", "p1")]
    for i, changed in enumerate([
        {}, {"convexify": "sdp"}, {"variant": "away"}, {"variant": "away", "lazy": False},
        {"node_tolerance": 0.2}, {"fixing": False},
    ]):  # fmt: skip
        for p in ("p0", "p1"):
            cut = p == "p1" and "fixing" in changed
            records.append(choice(p, not cut, 0.1 + i, 40 * (i + 1), **changed))
    for method in ("sdp", "none"):
        own = {"convexify": method, "max_nodes": 1}
        records += [choice(p, False, 0.2, 1, group="root", **own) for p in ("p0", "p1")]
    return records

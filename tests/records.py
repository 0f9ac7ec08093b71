"""Records made up for tests of tables and figures."""

from benchmarks.record import RECORDS_FILE, Record, append_records


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
    }
    return Record(**{**fields, **more})


def closed(solver, problem, objective, **more):
    """A record whose solver claims the optimum."""
    claims = {"claimed_objective": objective, "claimed_bound": objective, "bound": objective}
    return record(
        solver, problem, objective, verdict="closed", bound_kind="claimed", gap=0.0,
        **{**claims, **more},
    )  # fmt: skip


def write(directory, records):
    """A run's directory holding these records."""
    directory.mkdir(parents=True, exist_ok=True)
    append_records(directory / RECORDS_FILE, records)
    return directory


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

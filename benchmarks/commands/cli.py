"""The command `maskgap`: options, and one line for every mistake.

Exit codes: 0 done; 1 a row crashed, ended without a mask or is wrong, or a proof does not hold;
2 bad input, or a solver that refuses; 130 interrupted, 143 by SIGTERM. Each command imports what it
needs when it runs, so that `maskgap --help` stays fast. Nothing is imported from the current
directory, where a `numpy.py` may lie, but a solver that is named on the command line as
`module:Class` (see `instances.own_modules`).
"""

from pathlib import Path
from typing import Annotated

import typer

from maskgap.benchmarks.commands.arguments import (
    ExecutorOption,
    JsonOption,
    LayerArgument,
    ObjectiveOption,
    PatternOption,
    RidgeOption,
    RunDirectory,
    SchedulerOption,
    admit_named,
    layer_path,
)
from maskgap.benchmarks.commands.completion import layer_names, solver_names, suite_names
from maskgap.benchmarks.commands.model_commands import models

app = typer.Typer(
    name="maskgap",
    help="Exact and heuristic solvers for pruning masks, and the gaps between them, certified.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)


def _tell_version(asked: bool) -> None:
    if asked:
        from importlib.metadata import version

        print(version("maskgap"))
        raise typer.Exit


@app.callback()
def _options(
    _version: Annotated[
        bool,
        typer.Option("--version", help="Print the version.", callback=_tell_version, is_eager=True),
    ] = False,
) -> None:
    pass


@app.command()
def solve(
    file: LayerArgument,
    pattern: PatternOption,
    solver: Annotated[
        str,
        typer.Option(help="A name listed by `maskgap solvers`.", autocompletion=solver_names),
    ],
    objective: ObjectiveOption = "mask",
    ridge: RidgeOption = None,
    rows: Annotated[str | None, typer.Option(help="Half-open range A:B; all rows if absent.")] = (
        None
    ),
    time_limit: Annotated[float, typer.Option(help="Seconds per row.")] = 60.0,
    gap: Annotated[float, typer.Option(help="Relative gap to stop at, and of the verdict.")] = 1e-6,
    seed: Annotated[int, typer.Option(help="Seed of randomised solvers.")] = 0,
    threads: Annotated[int | None, typer.Option(help="Threads; all cores if absent.")] = None,
    device: Annotated[str, typer.Option(help="Torch device of batched solvers.")] = "cpu",
    warm_start: Annotated[
        str | None, typer.Option(help="magnitude, wanda, ria, obs, random, none or a mask file.")
    ] = None,
    set_: Annotated[
        list[str] | None, typer.Option("--set", help="Solver setting key=value; may be repeated.")
    ] = None,
    proof: Annotated[Path | None, typer.Option(help="Directory that receives proofs.")] = None,
    out: Annotated[Path | None, typer.Option(help="Mask file to write.")] = None,
    log: Annotated[Path | None, typer.Option(help="Directory for the solver's own logs.")] = None,
    json: JsonOption = False,
) -> int:
    """Solve rows of a layer with one solver, and certify every answer."""
    from maskgap.benchmarks.commands.limit_options import LimitOptions
    from maskgap.benchmarks.commands.objective_options import ObjectiveOptions
    from maskgap.benchmarks.commands.solve import SolveOptions, run

    admit_named(solver)
    return run(
        SolveOptions(
            layer_path(file),
            pattern,
            solver,
            LimitOptions(time_limit, gap, seed, threads, device),
            objective=ObjectiveOptions(objective, ridge),
            rows=rows,
            warm_start=warm_start,
            assignments=set_ or (),
            proof=proof,
            out=out,
            log=log,
            as_json=json,
        )
    )


@app.command()
def bound(
    file: LayerArgument,
    pattern: PatternOption,
    objective: ObjectiveOption = "mask",
    ridge: RidgeOption = None,
    time_limit: Annotated[float, typer.Option(help="Seconds for the whole layer.")] = 60.0,
    mask: Annotated[
        Path | None, typer.Option(help="Mask file to judge; masks are searched for if absent.")
    ] = None,
    rows: Annotated[str | None, typer.Option(help="Half-open range A:B; all rows if absent.")] = (
        None
    ),
    gap: Annotated[float, typer.Option(help="Relative gap at which a row is closed.")] = 1e-6,
    total_gap: Annotated[
        float | None, typer.Option(help="Relative gap of the whole layer at which to end.")
    ] = None,
    seed: Annotated[int, typer.Option(help="Seed of the search for masks.")] = 0,
    threads: Annotated[int | None, typer.Option(help="Threads; all cores if absent.")] = None,
    device: Annotated[str, typer.Option(help="Torch device of batched solvers.")] = "cpu",
    sample: Annotated[
        int | None,
        typer.Option(help="Bound so many rows, drawn at random, and estimate the gap of all."),
    ] = None,
    confidence: Annotated[float, typer.Option(help="Of the interval that --sample gives.")] = 0.95,
    max_runs: Annotated[
        int | None, typer.Option(help="Runs on a row at most, in all; no limit if absent.")
    ] = None,
    proof: Annotated[Path | None, typer.Option(help="Directory that receives the proof.")] = None,
    out: Annotated[Path | None, typer.Option(help="Mask file to write.")] = None,
    resume: Annotated[bool, typer.Option("--resume", help="Go on from the proof in DIR.")] = False,
    executor: ExecutorOption = "local",
    scheduler: SchedulerOption = None,
    json: JsonOption = False,
) -> int:
    """Certify how far the masks of a whole layer are from the best, row by row and in total."""
    from maskgap.benchmarks.commands.bound import BoundOptions, run
    from maskgap.benchmarks.commands.limit_options import LimitOptions
    from maskgap.benchmarks.commands.objective_options import ObjectiveOptions

    return run(
        BoundOptions(
            layer_path(file),
            pattern,
            LimitOptions(time_limit, gap, seed, threads, device),
            objective=ObjectiveOptions(objective, ridge),
            mask=mask,
            rows=rows,
            sample=sample,
            confidence=confidence,
            total_gap=total_gap,
            max_runs=max_runs,
            proof=proof,
            out=out,
            resume=resume,
            executor=executor,
            scheduler=scheduler,
            as_json=json,
        )
    )


@app.command()
def check(
    proof: Annotated[Path, typer.Argument(help="Proof file.")],
    instance: Annotated[
        Path,
        typer.Option(help="The layer, file or shipped, it is about.", autocompletion=layer_names),
    ],
    pattern: PatternOption,
    objective: ObjectiveOption = "mask",
    ridge: RidgeOption = None,
    rows: Annotated[
        str | None, typer.Option(help="Half-open range A:B that it must be about.")
    ] = None,
    time_limit: Annotated[
        float | None, typer.Option(help="Seconds to check in; no limit if absent.")
    ] = None,
    json: JsonOption = False,
) -> int:
    """Verify a proof from the layer's data, with no solver code."""
    from maskgap.benchmarks.commands.check import CheckOptions, run
    from maskgap.benchmarks.commands.objective_options import ObjectiveOptions

    own = ObjectiveOptions(objective, ridge)
    return run(CheckOptions(proof, layer_path(instance), pattern, own, rows, time_limit, json))


@app.command()
def run(
    suite: Annotated[
        str, typer.Argument(help="A suite's name or a TOML file.", autocompletion=suite_names)
    ],
    solvers: Annotated[
        str | None,
        typer.Option(help="Only these, separated by commas.", autocompletion=solver_names),
    ] = None,
    time_limit: Annotated[float | None, typer.Option(help="Seconds per run.")] = None,
    jobs: Annotated[int | None, typer.Option(help="Runs at a time; all cores if absent.")] = None,
    executor: ExecutorOption = "local",
    scheduler: SchedulerOption = None,
    out: Annotated[Path | None, typer.Option(help="Default: results/runs/SUITE.")] = None,
    fresh: Annotated[
        bool, typer.Option("--fresh/--resume", help="Set old records aside, or build on them.")
    ] = False,
    retry_failed: Annotated[bool, typer.Option(help="Repeat runs that crashed.")] = False,
    allow_code: Annotated[
        bool,
        typer.Option("--allow-code", help="Let the file name solvers and models as module:name."),
    ] = False,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="List what would run, and run nothing.")
    ] = False,
    json: JsonOption = False,
) -> int:
    """Run a suite: solve, certify, record. What is recorded already is not repeated."""
    from maskgap.benchmarks.commands.run import RunOptions
    from maskgap.benchmarks.commands.run import run as run_suite

    admit_named(*(solvers or "").split(","))
    return run_suite(
        RunOptions(
            suite,
            solvers=solvers,
            time_limit=time_limit,
            jobs=jobs,
            executor=executor,
            scheduler=scheduler,
            out=out,
            fresh=fresh,
            retry_failed=retry_failed,
            allow_code=allow_code,
            plan_only=dry_run,
            as_json=json,
        )
    )


@app.command()
def tables(
    directory: RunDirectory,
    format_: Annotated[str, typer.Option("--format", help="md, csv or latex.")] = "md",
    against: Annotated[
        Path | None, typer.Option(help="Directory of another run to compare with.")
    ] = None,
) -> int:
    """Write the tables of a run and print them, or compare two runs."""
    from maskgap.benchmarks.commands.tables import run_tables

    return run_tables(directory, format_, against)


@app.command()
def plot(
    directory: RunDirectory,
    format_: Annotated[str, typer.Option("--format", help="png, pdf or svg.")] = "png",
) -> int:
    """Draw the figures of a run."""
    from maskgap.benchmarks.commands.tables import run_plot

    return run_plot(directory, format_)


@app.command()
def report(
    directory: RunDirectory,
    out: Annotated[Path | None, typer.Option(help="Default: DIR/report.html.")] = None,
) -> int:
    """Write a run as one HTML page for people, and print its path."""
    from maskgap.benchmarks.commands.report import run

    return run(directory, out)


@app.command()
def solvers(
    name: Annotated[
        str | None,
        typer.Argument(help="One solver, with its settings.", autocompletion=solver_names),
    ] = None,
    json: JsonOption = False,
) -> int:
    """List the solvers: what they give, what they minimise, whether they can run here."""
    from maskgap.benchmarks.commands.listing import run_solvers

    admit_named(name)
    return run_solvers(name, json)


@app.command()
def instances(json: JsonOption = False) -> int:
    """List the layers that ship with the package."""
    from maskgap.benchmarks.commands.listing import run_instances

    return run_instances(json)


@app.command()
def show(
    file: Annotated[
        Path,
        typer.Argument(
            help="A layer, mask or proof file, or a shipped layer.", autocompletion=layer_names
        ),
    ],
    json: JsonOption = False,
) -> int:
    """Describe a file."""
    from maskgap.benchmarks.commands.show import run

    return run(layer_path(file), json)


@app.command()
def export(
    file: LayerArgument,
    row: Annotated[int, typer.Option(help="Row, from 0.")],
    pattern: PatternOption,
    format_: Annotated[str, typer.Option("--format", help="lp or mps.")] = "lp",
) -> int:
    """Print one row as a binary quadratic programme: SCIP and Gurobi solve it, HiGHS reads it."""
    from maskgap.benchmarks.commands.export import run

    return run(layer_path(file), row, pattern, format_)


app.add_typer(models)


def main() -> None:
    """Run the command; whatever goes wrong is one line on stderr and an exit code."""
    from maskgap.benchmarks.commands.entry import enter

    enter(lambda words: app(words, standalone_mode=False, prog_name="maskgap"))


if __name__ == "__main__":
    main()

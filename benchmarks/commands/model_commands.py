"""The commands on models, which need the package's extra `models`: options alone."""

from pathlib import Path
from typing import Annotated

import typer

from maskgap.benchmarks.commands.arguments import (
    CalibrationOption,
    HeldOutOption,
    JsonOption,
    LayersOption,
    LengthOption,
    ModelArgument,
    ObjectiveOption,
    RidgeOption,
    SamplesOption,
    TrustOption,
    admit_named,
)
from maskgap.benchmarks.commands.completion import solver_names

models = typer.Typer()


@models.command()
def extract(
    model: ModelArgument,
    out: Annotated[Path, typer.Option(help="Directory that receives one file per layer.")],
    layers: LayersOption = "*",
    calibration: CalibrationOption = None,
    samples: SamplesOption = 128,
    sequence_length: LengthOption = 128,
    device: Annotated[str, typer.Option(help="Torch device.")] = "cpu",
    held_out: HeldOutOption = False,
    trust_remote_code: TrustOption = False,
) -> int:
    """Extract layers from a torch model: weights and the Gram matrices of their inputs."""
    from maskgap.benchmarks.commands.extract import ExtractOptions, run
    from maskgap.benchmarks.models.sampling import Sampling

    admit_named(model)
    data = Sampling(calibration or (), samples, sequence_length)
    return run(ExtractOptions(model, out, data, layers, device, trust_remote_code, held_out))


@models.command()
def prune(
    context: typer.Context,
    model: ModelArgument,
    out: Annotated[Path, typer.Option(help="Directory of the checkpoint; must not exist yet.")],
    recipe: Annotated[
        Path | None, typer.Option(help="TOML file with these options; those given here go before.")
    ] = None,
    masks: Annotated[
        Path | None, typer.Option(help="Directory of mask files, <layer>.mask.safetensors.")
    ] = None,
    solver: Annotated[
        str | None, typer.Option(help="Find masks by this solver.", autocompletion=solver_names)
    ] = None,
    pattern: Annotated[str | None, typer.Option("--pattern", "-p", help="For --solver.")] = None,
    pattern_for: Annotated[
        list[str] | None,
        typer.Option(help="GLOB=PATTERN for the layers named so; may be repeated."),
    ] = None,
    objective: ObjectiveOption = "mask",
    ridge: RidgeOption = None,
    layers: LayersOption = "*",
    exclude: Annotated[str, typer.Option(help="Globs over layers that stay as they are.")] = "",
    extracted: Annotated[
        Path | None, typer.Option(help="Directory of `maskgap extract`, instead of calibration.")
    ] = None,
    calibration: CalibrationOption = None,
    samples: SamplesOption = 128,
    sequence_length: LengthOption = 128,
    held_out: HeldOutOption = False,
    propagate: Annotated[
        bool, typer.Option("--propagate", help="Later layers see the inputs of the pruned model.")
    ] = False,
    time_limit: Annotated[float, typer.Option(help="Seconds per row.")] = 60.0,
    set_: Annotated[
        list[str] | None, typer.Option("--set", help="Solver setting key=value; may be repeated.")
    ] = None,
    seed: Annotated[int, typer.Option(help="Seed of randomised solvers.")] = 0,
    threads: Annotated[int | None, typer.Option(help="Threads; all cores if absent.")] = None,
    device: Annotated[str, typer.Option(help="Torch device.")] = "cpu",
    resume: Annotated[
        bool, typer.Option("--resume", help="Go on with what a killed call began in --out.")
    ] = False,
    trust_remote_code: TrustOption = False,
    json: JsonOption = False,
) -> int:
    """Prune a model by masks, found or read, and save a checkpoint that its library loads."""
    if recipe is not None:
        return _by_recipe(context, recipe)
    from maskgap.benchmarks.commands.limit_options import LimitOptions
    from maskgap.benchmarks.commands.objective_options import ObjectiveOptions
    from maskgap.benchmarks.commands.prune import PruneOptions, run
    from maskgap.benchmarks.models.sampling import Sampling

    admit_named(model, solver)
    return run(
        PruneOptions(
            model,
            out,
            Sampling(calibration or (), samples, sequence_length),
            LimitOptions(time_limit, seed=seed, threads=threads, device=device),
            masks=masks,
            solver=solver,
            pattern=pattern,
            objective=ObjectiveOptions(objective, ridge),
            layers=layers,
            exclude=exclude,
            patterns=pattern_for or (),
            resume=resume,
            extracted=extracted,
            propagate=propagate,
            held_out=held_out,
            assignments=set_ or (),
            trust=trust_remote_code,
            as_json=json,
        )
    )


def _by_recipe(context: typer.Context, path: Path) -> int:
    """The command with what a recipe says, where the command line says nothing."""
    from maskgap.benchmarks.models.recipe import read_recipe

    given = dict(context.params)
    for name, value in read_recipe(path).options(path.parent).items():
        source = context.get_parameter_source(name)
        if source is not None and source.name == "DEFAULT":
            given[name] = value
    return prune(context, **{**given, "recipe": None})


@models.command()
def evaluate(
    model: ModelArgument,
    against: Annotated[str | None, typer.Option(help="The dense model.")] = None,
    calibration: CalibrationOption = None,
    samples: Annotated[
        int | None,
        typer.Option(
            help="Held-out texts, or windows. Default: 128, or those of 32768 tokens.",
            show_default=False,
        ),
    ] = None,
    sequence_length: Annotated[
        int | None,
        typer.Option(
            help="Tokens per text, at most, or of each window. Default: 128, of a language model "
            "2048 or what it takes.",
            show_default=False,
        ),
    ] = None,
    tasks: Annotated[
        list[str] | None,
        typer.Option(help="Task of lm-eval, by name or YAML file, instead; may be repeated."),
    ] = None,
    limit: Annotated[int | None, typer.Option(help="Examples of each task, at most.")] = None,
    device: Annotated[str, typer.Option(help="Torch device.")] = "cpu",
    json: JsonOption = False,
    trust_remote_code: TrustOption = False,
) -> int:
    """Measure a model: perplexity, agreement with the dense model, or accuracy on tasks."""
    from maskgap.benchmarks.commands.evaluate import EvaluateOptions, run

    admit_named(model, against)
    return run(
        EvaluateOptions(
            model,
            calibration or (),
            samples,
            sequence_length,
            against,
            tasks=tasks or (),
            limit=limit,
            device=device,
            trust=trust_remote_code,
            as_json=json,
        )
    )

"""Arguments and options that several commands share, and what becomes of the names given there."""

from pathlib import Path
from typing import Annotated

import typer

from maskgap.benchmarks.commands.completion import layer_names, objective_names

PatternOption = Annotated[
    str,
    typer.Option(
        "--pattern",
        "-p",
        help="P% or keep=K of each row, N:M (N kept of M), layer:P% (all rows together), N:M^T "
        "(both ways); with ;block=B ;cap=C/G ;cost=P% ;forced after those of a row.",
    ),
]
LayerArgument = Annotated[
    Path,
    typer.Argument(
        help="Layer file (*.safetensors), or the name of a shipped layer.",
        autocompletion=layer_names,
    ),
]
ObjectiveOption = Annotated[
    str,
    typer.Option(
        help="mask: weights that stay are not changed. refit: they are re-optimised.",
        autocompletion=objective_names,
    ),
]
RidgeOption = Annotated[
    float | None,
    typer.Option(
        help="Of refit: share of the Gram's mean diagonal added to it, 0.01 if absent.",
        show_default=False,
    ),
]
JsonOption = Annotated[bool, typer.Option("--json", help="One strict JSON object a line.")]
ModelArgument = Annotated[
    str, typer.Argument(help="A model's name, directory or module:callable[@weights].")
]
LayersOption = Annotated[
    str, typer.Option(help="Globs over the names of linear layers, separated by commas.")
]
CalibrationOption = Annotated[
    list[Path] | None,
    typer.Option(
        help="Text, JSONL (.gz too), parquet or tensor file, datasets:NAME[,CONFIG][,split=SPLIT]; "
        "may be repeated. Default: docstrings."
    ),
]
SamplesOption = Annotated[int, typer.Option(help="Calibration texts; as many are held out.")]
LengthOption = Annotated[int, typer.Option(help="Tokens per text, at most.")]
HeldOutOption = Annotated[
    bool, typer.Option("--held-out", help="Also Grams of the held-out half: as much work again.")
]
TrustOption = Annotated[
    bool, typer.Option("--trust-remote-code", help="Run code that the checkpoint brings along.")
]
ExecutorOption = Annotated[
    str,
    typer.Option(help="Where runs take place: local, or dask (workers on this or other machines)."),
]
SchedulerOption = Annotated[
    str | None,
    typer.Option(help="Address of a dask scheduler; if absent, dask workers are started here."),
]
RunDirectory = Annotated[Path, typer.Argument(help="Directory of a run.", metavar="DIR")]


def admit_named(*targets: str | None) -> None:
    """Let modules that the user names be found in the current directory."""
    from maskgap.instances.own_modules import admit

    for target in targets:
        admit(target, Path.cwd())


def layer_path(name: Path) -> Path:
    """A layer file by its path, or a shipped one by its name."""
    from maskgap.instances.sources.shipped import find

    return find(name)

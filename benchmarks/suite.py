"""Suites: which solvers run on which instances, as TOML.

    name = "small"
    description = "..."
    [[groups]]                       # one table each; solvers within a group see the same problems
    name = "rows"
    instances = ["value-n48"]        # shipped names, `cut:...`, `synthetic:...`, `llm:...`,
                                     # `extracted:...`, or files beside the TOML
    rows = "0:2"                     # half-open; all rows when left out
    patterns = ["50%", "2:4"]
    solvers = ["wanda", "swap", { name = "obs", settings = { damping = 0.1 } }]
    time_limit_s = 5.0
    seeds = [0, 1, 2]                # randomised solvers; the others run on the first alone
    threads = 1
    per = "row"                      # "layer": one record of sums for all rows of an instance
    [extract]                        # what `extracted:NAME` is taken from (`benchmarks.extraction`)
    model = "all-MiniLM-L6-v2"
    layers = "encoder.layer.0.*"

Randomised solvers need at least three seeds. Nothing is left out in silence: a solver that is not
installed or refuses a problem leaves a record that says so.
"""

import tomllib
from importlib import resources
from pathlib import Path
from typing import Annotated, Any, Literal, Self

from pydantic import (
    BaseModel,
    ConfigDict,
    Field,
    ValidationError,
    field_validator,
    model_validator,
)

from benchmarks.extraction import PREFIX as EXTRACTED
from benchmarks.extraction import Extraction
from instances import excerpt, families, files, llm, shipped
from instances.errors import InputError
from instances.layer import Layer

MINIMUM_SEEDS = 3


class SolverEntry(BaseModel):
    """A solver of a group, with its settings."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    name: str
    settings: dict[str, Any] = {}


class Group(BaseModel):
    """A cross product of instances, patterns, solvers and seeds under one limit."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    name: str
    instances: Annotated[list[str], Field(min_length=1)]
    patterns: Annotated[list[str], Field(min_length=1)]
    solvers: Annotated[list[SolverEntry], Field(min_length=1)]
    rows: str | None = None
    time_limit_s: Annotated[float, Field(gt=0)] = 60.0
    gap: Annotated[float, Field(ge=0)] = 1e-6
    threads: Annotated[int, Field(ge=1)] = 1
    seeds: Annotated[list[int], Field(min_length=MINIMUM_SEEDS)] = [0, 1, 2]
    per: Literal["row", "layer"] = "row"

    @field_validator("solvers", mode="before")
    @classmethod
    def _names(cls, value: object) -> object:
        if isinstance(value, list):
            return [{"name": entry} if isinstance(entry, str) else entry for entry in value]
        return value


class Suite(BaseModel):
    """A named list of groups. directory: where relative instance files are looked up.

    extract: what to extract before anything runs, or None.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    name: str
    description: str = ""
    groups: Annotated[list[Group], Field(min_length=1)]
    extract: Extraction | None = None
    directory: Path = Path()

    @model_validator(mode="after")
    def _extracted(self) -> Self:
        wanted = [name for g in self.groups for name in g.instances if name.startswith(EXTRACTED)]
        if wanted and self.extract is None:
            raise ValueError(f"'{wanted[0]}' needs a table [extract] that names the model")
        return self


def suite_names() -> list[str]:
    """Suites that ship with the package."""
    folder = resources.files("benchmarks") / "suites"
    return sorted(Path(f.name).stem for f in folder.iterdir() if f.name.endswith(".toml"))


def read_suite(name: str) -> Suite:
    """A shipped suite by name, or a TOML file by path. Raises InputError naming file and field."""
    if name in suite_names():
        path = Path(str(resources.files("benchmarks") / "suites" / f"{name}.toml"))
    else:
        path = Path(name)
    try:
        values = tomllib.loads(path.read_text())
    except OSError:
        raise InputError(
            f"{name}: neither a suite ({', '.join(suite_names())}) nor a readable TOML file"
        ) from None
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise InputError(f"{path}: not TOML: {error}") from None
    try:
        return Suite.model_validate({**values, "directory": path.parent})
    except ValidationError as error:
        first = error.errors()[0]
        place = ".".join(str(part) for part in first["loc"]) or "instances"
        raise InputError(f"{path}: field {place}: {first['msg']}") from None


def load_instance(name: str, suite: Suite, run: Path) -> Layer:
    """A layer by shipped name, `cut:`, `synthetic:`, `llm:` or `extracted:` text, or file path.

    run: the directory that extracted layers are in. Raises InputError.
    """
    if name.startswith(families.PREFIX):
        return families.parse_family(name).layer()
    if name.startswith(llm.PREFIX):
        return llm.parse_llm(name).layer()
    if name.startswith(excerpt.PREFIX):
        return excerpt.parse_excerpt(name).layer()
    if name.startswith(EXTRACTED) and suite.extract is not None:
        return suite.extract.read(name.removeprefix(EXTRACTED), run)
    if name in shipped.names():
        return files.read_layer(shipped.path(name))
    return files.read_layer(suite.directory / name)

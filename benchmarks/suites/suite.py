"""Suites: which solvers run on which instances, as TOML; suites/README.md lists all fields.

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
    objective = "refit"              # "mask" when left out: weights that stay are not changed
    ridge = 0.01                     # of refit alone
    per = "row"                      # "layer": one record of sums for all rows of an instance
    [extract]                        # what `extracted:NAME` is taken from
    (`benchmarks.suites.extraction`) model = "all-MiniLM-L6-v2"
    layers = "encoder.layer.0.*"

Randomised solvers need at least three seeds. Nothing is left out in silence: a solver that is not
installed or refuses a problem leaves a record that says so.

A suite file is data of whoever wrote it. Its name is the name of a folder and no path, its files
lie in its own folder, and the code that it names (`Suite.code`) runs only when the caller says so.
"""

import stat
import tomllib
from importlib import resources
from pathlib import Path
from typing import Annotated, Literal, Self

from pydantic import (
    AfterValidator,
    BaseModel,
    ConfigDict,
    Field,
    ValidationError,
    field_validator,
    model_validator,
)

from maskgap.benchmarks.suites.extraction import PREFIX as EXTRACTED
from maskgap.benchmarks.suites.extraction import Extraction
from maskgap.benchmarks.suites.fields import (
    Beside,
    FolderName,
    Setting,
    Text,
    distinct,
    inside_folder,
)
from maskgap.benchmarks.suites.names import suite_names
from maskgap.instances.errors import InputError
from maskgap.instances.formats import files
from maskgap.instances.layer import Layer
from maskgap.instances.objective import ObjectiveSpec, objective_spec
from maskgap.instances.sources import excerpt, families, leading, llm, shipped
from maskgap.instances.suggestions import did_you_mean

MINIMUM_SEEDS = 3

LONGEST_S = 1e7
"""Seconds of a run at most: four months."""

MOST_BYTES = 1 << 20
"""Size of a suite file at most."""


class SolverEntry(BaseModel):
    """A solver of a group, with its settings."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    name: Text
    settings: dict[Text, Setting] = {}


class Group(BaseModel):
    """A cross product of instances, patterns, solvers and seeds under one limit."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    name: Text
    instances: Annotated[list[Beside], Field(min_length=1)]
    patterns: Annotated[list[Text], Field(min_length=1)]
    solvers: Annotated[list[SolverEntry], Field(min_length=1)]
    rows: str | None = None
    time_limit_s: Annotated[float, Field(gt=0, le=LONGEST_S)] = 60.0
    gap: Annotated[float, Field(ge=0, le=1)] = 1e-6
    threads: Annotated[int, Field(ge=1, le=1024)] = 1
    seeds: Annotated[
        list[Annotated[int, Field(ge=0, lt=1 << 32)]],
        Field(min_length=MINIMUM_SEEDS),
        AfterValidator(distinct),
    ] = [0, 1, 2]
    per: Literal["row", "layer"] = "row"
    objective: Text = "mask"
    ridge: Annotated[float, Field(ge=0)] | None = None

    @property
    def minimised(self) -> ObjectiveSpec:
        """What its problems minimise."""
        return objective_spec(self.objective, self.ridge)

    @model_validator(mode="after")
    def _objective(self) -> Self:
        try:
            objective_spec(self.objective, self.ridge)
        except InputError as error:
            raise ValueError(str(error)) from None
        return self

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

    name: FolderName
    description: str = ""
    groups: Annotated[list[Group], Field(min_length=1)]
    extract: Extraction | None = None
    directory: Path = Path()

    @property
    def code(self) -> list[str]:
        """The code that the suite names: solvers outside the register, a model's function."""
        solvers = [entry.name for group in self.groups for entry in group.solvers]
        models = [] if self.extract is None else [self.extract.model]
        return list(dict.fromkeys(name for name in [*solvers, *models] if ":" in name))

    @model_validator(mode="after")
    def _names(self) -> Self:
        distinct([group.name for group in self.groups])
        return self

    @model_validator(mode="after")
    def _extracted(self) -> Self:
        wanted = [name for g in self.groups for name in g.instances if name.startswith(EXTRACTED)]
        if wanted and self.extract is None:
            raise ValueError(f"'{wanted[0]}' needs a table [extract] that names the model")
        return self


def read_suite(name: str) -> Suite:
    """A shipped suite by name, or a TOML file by path. Raises InputError naming file and field."""
    if name in suite_names():
        path = Path(str(resources.files("maskgap.benchmarks.suites") / f"{name}.toml"))
    else:
        path = Path(name)
    try:
        if not stat.S_ISREG(path.stat().st_mode) or path.stat().st_size > MOST_BYTES:
            raise InputError(f"{name}: not a TOML file of {MOST_BYTES >> 20} MiB at most")
        values = tomllib.loads(path.read_text(encoding="utf-8-sig"))
    except OSError:
        raise InputError(
            f"{name}: neither a suite ({', '.join(suite_names())}) nor a readable TOML file"
            f"{did_you_mean(name, suite_names())}"
        ) from None
    except (tomllib.TOMLDecodeError, UnicodeDecodeError, RecursionError) as error:
        raise InputError(f"{path}: not TOML in UTF-8: {error}") from None
    try:
        if "directory" in values:
            raise InputError(f"{path}: field directory: a suite's folder is where its file is")
        return Suite.model_validate({**values, "directory": path.parent})
    except ValidationError as error:
        raise InputError(f"{path}: {_said(error)}") from None


def load_instance(name: str, suite: Suite, run: Path) -> Layer:
    """A layer by shipped name, `cut:`, `leading:`, ..., `extracted:` text, or file path.

    run: the directory that extracted layers are in. Raises InputError.
    """
    if name.startswith(families.PREFIX):
        return families.parse_family(name).layer()
    if name.startswith(llm.PREFIX):
        return llm.parse_llm(name).layer()
    if name.startswith(excerpt.PREFIX):
        return excerpt.parse_excerpt(name).layer()
    if name.startswith(leading.PREFIX):
        return leading.parse_leading(name).layer()
    if name.startswith(EXTRACTED) and suite.extract is not None:
        return suite.extract.read(name.removeprefix(EXTRACTED), run, suite.directory)
    if name in shipped.names():
        return files.read_layer(shipped.path(name))
    try:
        return files.read_layer(inside_folder(suite.directory, name))
    except ValueError as error:
        raise InputError(str(error)) from None


def _said(error: ValidationError) -> str:
    """What is wrong with a suite: the field, what was expected, and the fields that there are."""
    first = error.errors()[0]
    loc = [part for part in first["loc"] if part != "SolverEntry"]
    place = ".".join(str(part) for part in loc) or "instances"
    if first["type"] != "extra_forbidden":
        return f"field {place}: {first['msg'].removeprefix('Value error, ')}"
    table: type[BaseModel] = Suite
    if len(loc) > 1:
        table = Extraction if loc[0] == "extract" else SolverEntry if len(loc) > 3 else Group
    known = ", ".join(name for name in table.model_fields if name != "directory")
    return f"field {place}: there is none of this name; the fields here are {known}"

"""How a model is to be pruned, as a TOML file says it.

    pattern = "50%"                     # of all layers that `patterns` does not name
    solver = "swap"
    layers = "model.layers.*"           # globs over names; all but heads when left out
    exclude = "*.k_proj, *.v_proj"
    objective = "refit"                 # "mask" when left out: weights that stay are not changed
    ridge = 0.01                        # of refit alone
    propagate = true                    # later layers see the inputs of the model pruned so far
    held_out = false                    # errors on held-out inputs are told too
    time_limit = 60.0                   # seconds a row
    seed = 0
    [patterns]                          # globs with patterns of their own, the first that matches
    "*.down_proj" = "2:4"
    [settings]                          # of the solver
    max_swaps = 25
    [calibration]
    files = ["texts.jsonl"]             # beside the recipe, or data sets; docstrings when left out
    samples = 128
    sequence_length = 128

Keys that are not here are refused. What the command line says counts before the recipe.
"""

import tomllib
from pathlib import Path
from typing import Any

from pydantic import BaseModel, ConfigDict, ValidationError

from maskgap.instances.errors import InputError
from maskgap.instances.models.named_texts import is_named
from maskgap.instances.suggestions import did_you_mean

MOST_BYTES = 1 << 20
"""Size of a recipe at most."""


class CalibrationRecipe(BaseModel):
    """Which data. files: beside the recipe."""

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True)

    files: list[str] = []
    samples: int | None = None
    sequence_length: int | None = None


class Recipe(BaseModel):
    """What a recipe says; None and empty where it says nothing."""

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True)

    pattern: str | None = None
    patterns: dict[str, str] = {}
    solver: str | None = None
    settings: dict[str, bool | int | float | str] = {}
    layers: str | None = None
    exclude: str | None = None
    objective: str | None = None
    ridge: float | None = None
    propagate: bool | None = None
    held_out: bool | None = None
    time_limit: float | None = None
    seed: int | None = None
    calibration: CalibrationRecipe = CalibrationRecipe()

    def options(self, folder: Path) -> dict[str, Any]:
        """What the options of `maskgap prune` are given, by name; folder: of the recipe."""
        own = ("pattern", "solver", "layers", "exclude", "objective", "ridge", "propagate")
        found: dict[str, Any] = {name: getattr(self, name) for name in own}
        found |= {name: getattr(self, name) for name in ("held_out", "time_limit", "seed")}
        found["samples"] = self.calibration.samples
        found["sequence_length"] = self.calibration.sequence_length
        files = [Path(name) for name in self.calibration.files]
        found["calibration"] = [f if is_named(f) else folder / f for f in files] or None
        found["pattern_for"] = [f"{glob}={p}" for glob, p in self.patterns.items()] or None
        found["set_"] = [f"{key}={_word(value)}" for key, value in self.settings.items()] or None
        return {name: value for name, value in found.items() if value is not None}


def read_recipe(path: Path) -> Recipe:
    """A recipe. Raises InputError with one line that names the key and what may have been meant."""
    try:
        with path.open("rb") as file:
            raw = file.read(MOST_BYTES + 1)
        if len(raw) > MOST_BYTES:
            raise InputError(f"{path}: is larger than a recipe, {MOST_BYTES} bytes at most")
        table = tomllib.loads(raw.decode())
        return Recipe.model_validate(table)
    except OSError as error:
        raise InputError(f"{path}: cannot be read: {error.strerror or error}") from None
    except ValidationError as error:
        raise InputError(f"{path}: {_first(error)}") from None
    except (ValueError, RecursionError) as error:
        raise InputError(f"{path}: not a TOML file: {str(error).splitlines()[0]}") from None


def _first(error: ValidationError) -> str:
    first = error.errors()[0]
    *above, last = [str(part) for part in first["loc"]] or [""]
    key = ".".join([*above, last])
    if first["type"] != "extra_forbidden":
        return f"{key}: {first['msg']}"
    fields = CalibrationRecipe.model_fields if above else Recipe.model_fields
    return f"there is no key '{key:.60}'{did_you_mean(last, fields)}"


def _word(value: bool | int | float | str) -> str:
    return str(value).lower() if isinstance(value, bool) else str(value)

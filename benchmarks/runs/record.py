"""Records: what one run gave on one row, or on a layer, one strict JSON object a line, append-only.

The run key is the sha256 of (problem digest, solver, its version, sorted settings, seed, limits),
so it does not depend on the order of a suite. Missing fields of older records read as absent; a
newer schema than this is an error. Schema 2 added `rows`, `layer_type`, `by_swaps` and
`mask_digest`, schema 3 `checker`, `batched`, `objective_low` and `objective_high`, schema 4 what
the solver is: `gives`, `register_place`, `install`, `summary` and `defaults`, schema 5 `ridge`,
`error_without_ridge` and `error_own_weights`. The file of them is that of
`benchmarks.runs.record_file`.

A record is data of whoever made it. Every field is held to its type and range when a line is read,
so that nothing which reads records later meets what it cannot handle: no infinity, no count below
its least, no number whose sums overflow, no half of a surrogate pair, no depth.
"""

import hashlib
import json
from math import isfinite
from typing import Annotated, Any

from pydantic import (
    AfterValidator,
    BaseModel,
    ConfigDict,
    Field,
    field_validator,
    model_validator,
)

from maskgap.benchmarks.verify.check import CHECKER
from maskgap.instances.objective import MASK, ObjectiveName, ObjectiveSpec

SCHEMA = 5

LARGEST = 1e300
"""Largest size of a number: sums over all rows of a layer stay within the range of float64."""

DEEPEST = 8
"""Lists and objects within one another in a line."""

Finite = Annotated[float, Field(ge=-LARGEST, le=LARGEST, allow_inf_nan=False)]
Share = Annotated[float, Field(ge=0, le=1)]
Seconds = Annotated[float, Field(ge=0, le=1e12, allow_inf_nan=False)]
Amount = Annotated[int, Field(ge=0, lt=1 << 63)]
Size = Annotated[int, Field(ge=1, lt=1 << 63)]

VERDICTS = ("proved", "closed", "feasible", "empty", "wrong")
KINDS = ("checked", "claimed", "trivial")
GIVES = ("mask", "proof", "claim", "bound")
STOPS = (
    "finished", "gap", "time", "nodes", "iterations", "memory", "interrupted", "refused", "crashed"
)  # fmt: skip


def _one_of(words: tuple[str, ...]) -> AfterValidator:
    def known(word: str) -> str:
        if word not in words:
            raise ValueError(f"'{word[:40]}' is none of {', '.join(words)}")
        return word

    return AfterValidator(known)


UNSETTLED = ("interrupted", "memory")
"""Stops that say nothing about the run itself: whoever runs the suite again runs these again."""


class Record(BaseModel):
    """One solver, one row, one seed. Numbers without `claimed_` were recomputed by the certificate.

    Objectives and bounds are squared norms in the layer's units; `_s` are seconds; absent is None.
    A record of a layer stands for `rows` rows from `row` on: objectives, energies, bounds and
    counters are sums, None where a row has none, and instead of `pruned` it has `mask_digest`, the
    sha256 of the mask (rows, n). height: rows that the pattern couples, laid end to end from `row`
    on; n and `pruned` then count the columns of all of them. ridge: of the objective refit, None
    for the loss of a mask. Under refit, error_without_ridge is the error of the same weights on the
    Gram as it is, and error_own_weights the objective at the solver's own weights, where it gave
    some. objective_low, objective_high: an
    interval that holds the loss of the mask for the real numbers behind the data, None where it was
    not made. checker: version of what judged the run, 0 before it had one. trace: seconds,
    objective and bound by then. by_swaps: pairs of T and the objective if every row had ended after
    T swaps; the last T is the most any row took.

    What the solver is: `gives` is what it has to offer, proof (a mask, and a bound with a proof
    that may reach the optimum), claim (the same without a proof), bound (and no mask of its own) or
    mask. batched: whether it takes all rows at once. register_place: its place among the solvers,
    from 0, None outside the register. install: what installs it where it was not installed, None
    where it was. summary: what it does. defaults: all its settings when it is told none, in its
    order, None where that is not known. Older records lack these, `install` excepted, which their
    reason tells.
    """

    model_config = ConfigDict(frozen=True, extra="ignore")

    schema_version: Size = SCHEMA
    key: str
    suite: str = ""
    group: str = ""
    started: str = ""

    instance: str
    row: Amount
    rows: Size = 1
    height: Size = 1
    n: Size
    layer_type: str = ""
    pattern: str
    problem: str
    pruned_per_row: Annotated[Finite, Field(ge=0)]
    sparsity: Share
    ridge: Annotated[Finite, Field(ge=0)] | None = None

    solver: str
    solver_version: str = ""
    gives: Annotated[str, _one_of(GIVES)] | None = None
    batched: bool | None = None
    register_place: Amount | None = None
    install: str | None = None
    summary: str = ""
    defaults: dict[str, Any] | None = None
    settings: dict[str, Any] = {}
    seed: Amount = 0
    time_limit_s: Seconds
    gap_tolerance: Annotated[Finite, Field(ge=0)] = 1e-6
    threads: Size = 1
    device: str = "cpu"

    checker: Amount = 0
    stop: Annotated[str, _one_of(STOPS)]
    verdict: Annotated[str, _one_of(VERDICTS)]
    reason: str = ""
    objective: Finite | None = None
    objective_low: Finite | None = None
    objective_high: Finite | None = None
    objective_eval: Finite | None = None
    error_without_ridge: Finite | None = None
    error_own_weights: Finite | None = None
    energy: Finite | None = None
    energy_eval: Finite | None = None
    bound: Finite | None = None
    bound_kind: Annotated[str, _one_of(KINDS)] | None = None
    gap: Annotated[Finite, Field(ge=0)] | None = None
    claimed_objective: Finite | None = None
    claimed_bound: Finite | None = None
    pruned: list[Amount] | None = None
    mask_digest: str | None = None

    build_s: Seconds = 0.0
    warmup_s: Seconds = 0.0
    solve_s: Seconds = 0.0
    check_s: Seconds = 0.0
    wall_s: Seconds = 0.0
    peak_memory_bytes: Amount | None = None

    counters: dict[str, Amount] = {}
    notes: dict[str, str | float] = {}
    trace: list[tuple[Seconds, Finite | None, Finite | None]] = []
    by_swaps: list[tuple[Amount, Finite]] = []
    exception: str | None = None
    traceback: str | None = None
    host: dict[str, str | int | float] = {}
    packages: dict[str, str] = {}

    @field_validator("settings", "defaults", "notes", mode="before")
    @classmethod
    def _words(cls, values: object) -> object:
        """JSON has no NaN and no infinity: where a solver's own values are such, their names."""
        if not isinstance(values, dict):
            return values
        return {
            name: str(v) if isinstance(v, float) and not isfinite(v) else v
            for name, v in values.items()
        }

    @model_validator(mode="before")
    @classmethod
    def _plain(cls, values: Any) -> Any:
        return _with_install(_plain(values, DEEPEST))

    @property
    def refits(self) -> bool:
        """Whether weights that stay are re-optimised."""
        return self.ridge is not None

    @property
    def minimised(self) -> str:
        """What it is about in words: 'mask', or 'refit, ridge 0.01'."""
        return str(MASK if self.ridge is None else ObjectiveSpec(ObjectiveName.REFIT, self.ridge))

    @property
    def failed(self) -> bool:
        """Whether the run itself broke: these are retried only on request."""
        return self.stop == "crashed"

    @property
    def settled(self) -> bool:
        """Whether the run ended by itself and was judged as it would be today.

        A run that was interrupted or had too little memory would give more another time.
        """
        return self.stop not in UNSETTLED and self.checker == CHECKER

    def line(self) -> str:
        """The record as one line of strict JSON, keys in the order above."""
        return json.dumps(self.model_dump(), allow_nan=False) + "\n"


_INSTALL_SINCE, _INSTALL_BEFORE = 4, "pip install "
"""The schema that has `install`; how the reason of such a refusal began before."""


def _with_install(values: Any) -> Any:
    """The fields of an older record with what installs the solver, where it was not installed."""
    if not isinstance(values, dict):
        return values
    version = values.get("schema_version", SCHEMA)
    if not isinstance(version, int) or version >= _INSTALL_SINCE:
        return values
    reason = values.get("reason")
    refused = values.get("stop") == "refused"
    if refused and isinstance(reason, str) and reason.startswith(_INSTALL_BEFORE):
        return {**values, "install": reason}
    return values


def _plain(value: Any, depth: int) -> Any:
    """A value of JSON whose texts can be encoded. Raises ValueError for what is too deep or large.

    Halves of surrogate pairs, which the names of files may hold, are written as escapes.
    """
    if isinstance(value, str):
        return value.encode("utf-8", "backslashreplace").decode()
    if isinstance(value, int) and not -(1 << 63) <= value < 1 << 63:
        raise ValueError("a whole number of more than 64 bits")
    if isinstance(value, dict | list | tuple):
        if depth == 0:
            raise ValueError("nested too deeply")
        if isinstance(value, dict):
            return {_plain(k, depth - 1): _plain(part, depth - 1) for k, part in value.items()}
        return [_plain(part, depth - 1) for part in value]
    return value


def run_key(
    problem: str,
    solver: str,
    version: str,
    *,
    settings: dict[str, object],
    seed: int,
    limits: dict[str, object],
) -> str:
    """sha256 that names a run by what it is, whatever its place in a suite."""
    parts = [problem, solver, version, settings, seed, limits]
    return hashlib.sha256(json.dumps(parts, sort_keys=True).encode()).hexdigest()

"""The Python interface on arrays: solve, bound and certify, as the command does.

    from benchmarks.api import bound, certify, solve

    rows = solve(weight, gram, "50%", solver="swap")
    rows[0].certificate.objective, rows[0].answer.mask

Arrays are numpy's, lists or torch tensors, on any device and of any real dtype; masks are boolean,
True = kept, or of 0 and 1.
Each run has a process of its own, so a native crash or an overrun costs one answer only.
"""

from collections.abc import Iterator, Mapping
from dataclasses import replace
from pathlib import Path

from numpy.typing import ArrayLike

from benchmarks.arrays import as_array, as_mask, roundoff_of
from benchmarks.certify import Certificate, certify_row
from benchmarks.child import Task
from benchmarks.environment import cores
from benchmarks.judge import Judged, judge, parts_of
from benchmarks.pool import Pool
from benchmarks.sharing import share
from benchmarks.whole_layer import LayerWork, bounding
from instances.errors import InputError, Refused
from instances.layer import Layer
from instances.patterns import parse_pattern
from instances.problem import Problem
from solvers import registry


def solve(
    weight: ArrayLike,
    gram: ArrayLike,
    pattern: str,
    solver: str = "swap",
    settings: Mapping[str, object] | None = None,
    time_limit: float = 60.0,
    gap: float = 1e-6,
    seed: int = 0,
    threads: int | None = None,
    device: str = "cpu",
) -> list[Judged]:
    """Solve all rows of a layer.

    weight: (d_out, d_in); gram: (d_in, d_in), X X^T; any real dtype. time_limit: seconds per row.
    Returns one `Judged` a row, or a part of coupled rows: problem, answer, certificate. Raises
    InputError for bad arrays, pattern or settings, Refused when the solver's package is absent.
    """
    problem = _problem(weight, gram, pattern)
    runs = Runs(problem, solver, dict(settings or {}), time_limit, gap, seed, threads, device)
    return sorted(runs, key=lambda judged: judged.problem.row)


def certify(
    weight: ArrayLike,
    gram: ArrayLike,
    pattern: str,
    mask: ArrayLike,
    bounds: ArrayLike | None = None,
    tolerance: float = 1e-6,
) -> list[Certificate]:
    """Judge a mask (d_out, d_in), True = kept, with one claimed lower bound a part, or none.

    A part is a row, or the rows that the pattern couples. Raises InputError for bad arrays or
    pattern, and for a mask that does not meet it.
    """
    problem = _problem(weight, gram, pattern, mask)
    claims: list[float | None] = [None] * len(problem)
    if bounds is not None:
        claims = [float(claim) for claim in as_array(bounds, "bounds").reshape(-1)]
    if len(claims) != len(problem):
        raise InputError(f"{len(claims)} bounds for {len(problem)} parts; give one each")
    return [
        certify_row(row, row.start, claimed_bound=claim, tolerance=tolerance)
        for row, claim in zip(problem, claims, strict=True)
    ]


def bound(
    weight: ArrayLike,
    gram: ArrayLike,
    pattern: str,
    mask: ArrayLike | None = None,
    time_limit: float = 60.0,
    gap: float = 1e-6,
    seed: int = 0,
    threads: int | None = None,
    device: str = "cpu",
) -> LayerWork:
    """Masks and checked lower bounds for all rows of a layer, in at most `time_limit` seconds.

    weight: (d_out, d_in); gram: (d_in, d_in). mask: (d_out, d_in), True = kept, to be judged; None:
    masks are searched for. Returns the work done: `total` has the sums, `rows` each row's
    certificate, `masks()` the masks, `proofs()` the proofs. Raises InputError, Refused.
    """
    problem = _problem(weight, gram, pattern, mask)
    work = bounding(problem, time_limit, threads or cores(), device, gap, seed)
    for _ in work:
        pass
    return work


def _problem(
    weight: ArrayLike, gram: ArrayLike, pattern: str, mask: ArrayLike | None = None
) -> Problem:
    layer = Layer.from_arrays(
        as_array(weight, "weight"), as_array(gram, "gram"), gram_roundoff=roundoff_of(gram)
    )
    start = None if mask is None else as_mask(mask, layer.weight.shape)
    return Problem.of(layer, parse_pattern(pattern), None, start)


class Runs:
    """The runs of one solver on the rows of a problem, certified as they end, in row order.

    `interrupted` says afterwards whether a signal ended them early. A wrong setting or start is an
    InputError of the first run that has it, raised here. log: directory of the solver's own logs,
    a file `rowN.log` for each run, or None.
    """

    def __init__(
        self,
        problem: Problem,
        solver: str,
        settings: dict[str, object],
        time_limit: float,
        gap: float,
        seed: int,
        threads: int | None,
        device: str = "cpu",
        log: Path | None = None,
    ) -> None:
        self.solver, self.log = solver, log
        spec = registry.spec_of(solver)
        if spec.missing is not None:
            raise Refused(f"solver '{solver}' is not installed: {spec.missing}")
        refusal = spec.refusal(problem.pattern)
        if refusal is not None:
            raise Refused(refusal)
        width = threads or cores()
        self.problem = replace(problem, layer=share(problem.layer))
        parts = [self.problem] if spec.batched else parts_of(self.problem)
        self.tasks = [
            Task(
                part,
                solver,
                settings,
                seed,
                time_limit * len(part.rows),
                gap,
                width,
                device,
                log=None if log is None else log / f"row{part.rows.start}.log",
            )
            for part in parts
        ]
        self.pool = Pool(1, width)
        self.pool.preload([spec.target.partition(":")[0]])

    def setting_names(self) -> list[str]:
        """The settings that the solver takes. Starts a process, which loads it."""
        (settings,) = self.pool.settings([(self.solver, {})])
        return list(settings)

    @property
    def interrupted(self) -> bool:
        """Whether a signal ended the runs early."""
        return self.pool.interrupted

    @property
    def interrupt_code(self) -> int:
        """The exit code of a command that this signal ended: 130 for SIGINT, 143 for SIGTERM."""
        return 128 + self.pool.signal_number

    def __iter__(self) -> Iterator[Judged]:
        for index, outcome in self.pool.outcomes(self.tasks):
            yield from judge(self.tasks[index], outcome)

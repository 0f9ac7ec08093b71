"""The Python interface on arrays: solve, bound and certify, as the command does.

    from maskgap.benchmarks.interface.calls import bound, certify, solve

    rows = solve(weight, gram, "50%", solver="swap")
    rows[0].certificate.objective, rows[0].answer.mask

Arrays are numpy's, lists or torch tensors, on any device and of any real dtype; masks are boolean,
True = kept, or of 0 and 1.
Each run has a process of its own, so a native crash or an overrun costs one answer only.
"""

from collections.abc import Mapping

from numpy.typing import ArrayLike

from maskgap.benchmarks.interface.arrays import as_array, as_mask, roundoff_of
from maskgap.benchmarks.layers.bounding import bounding
from maskgap.benchmarks.layers.solving import Runs
from maskgap.benchmarks.layers.work import LayerWork
from maskgap.benchmarks.runs.environment import cores
from maskgap.benchmarks.runs.judge import Judged
from maskgap.benchmarks.runs.task import RunLimits
from maskgap.benchmarks.verify.certificate import Certificate, certify_part
from maskgap.instances.errors import InputError
from maskgap.instances.layer import Layer
from maskgap.instances.masks.patterns import parse_pattern
from maskgap.instances.problem import Problem


def solve(
    weight: ArrayLike,
    gram: ArrayLike,
    pattern: str,
    *,
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
    limits = RunLimits(time_limit, gap, threads or cores(), device, seed)
    runs = Runs(problem, solver, dict(settings or {}), limits)
    return sorted(runs, key=lambda judged: judged.problem.row)


def certify(
    weight: ArrayLike,
    gram: ArrayLike,
    pattern: str,
    mask: ArrayLike,
    bounds: ArrayLike | None = None,
    *,
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
        certify_part(part, part.start, claimed_bound=claim, tolerance=tolerance)
        for part, claim in zip(problem, claims, strict=True)
    ]


def bound(
    weight: ArrayLike,
    gram: ArrayLike,
    pattern: str,
    mask: ArrayLike | None = None,
    *,
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
    work = bounding(problem, RunLimits(time_limit, gap, threads or cores(), device, seed))
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

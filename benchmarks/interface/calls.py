"""The Python interface on arrays: solve a layer, and bound it, as the command does.

    import maskgap

    rows = maskgap.solve(weight, gram, "50%", solver="swap")
    rows[0].certificate.objective, rows[0].answer.mask

Arrays are numpy's, lists or torch tensors, on any device and of any real dtype; masks are boolean,
True = kept, or of 0 and 1. Each run has a process of its own, so a native crash or an overrun costs
one answer only.
"""

from collections.abc import Mapping
from typing import Unpack

from numpy.typing import ArrayLike

from maskgap.benchmarks.interface.problems import LayerExtras, problem_of, weights_of
from maskgap.benchmarks.layers.bounding import bounding
from maskgap.benchmarks.layers.solving import Runs
from maskgap.benchmarks.layers.work import LayerWork
from maskgap.benchmarks.runs.environment import cores
from maskgap.benchmarks.runs.judge import Judged
from maskgap.benchmarks.runs.task import RunLimits
from maskgap.instances.objective import objective_spec


def solve(
    weight: ArrayLike,
    gram: ArrayLike,
    pattern: str,
    solver: str = "swap",
    *,
    objective: str = "mask",
    ridge: float | None = None,
    settings: Mapping[str, object] | None = None,
    time_limit: float = 60.0,
    gap: float = 1e-6,
    seed: int = 0,
    threads: int | None = None,
    device: str = "cpu",
    **more: Unpack[LayerExtras],
) -> list[Judged]:
    """Solve all rows of a layer.

    weight: (d_out, d_in); gram: (d_in, d_in), X X^T; any real dtype. objective: "mask", or
    "refit", where weights that stay are re-optimised; ridge: of refit, 0.01 if None. time_limit:
    seconds per row. gap: relative gap to stop at, and of the verdict. threads: all cores if None.
    device: of batched solvers. more: further fields of the layer, such as `column_cost`, `forced`.
    Returns one `Judged` a row, or a part of coupled rows: problem, answer, certificate. Raises
    InputError for bad arrays, pattern or settings, Refused when the solver's package is absent.
    """
    problem = problem_of(weight, gram, pattern, None, objective_spec(objective, ridge), **more)
    limits = RunLimits(time_limit, gap, threads or cores(), device, seed)
    runs = Runs(problem, solver, dict(settings or {}), limits)
    return sorted(runs, key=lambda judged: judged.problem.row)


def bound(
    weight: ArrayLike,
    gram: ArrayLike,
    pattern: str,
    mask: ArrayLike | None = None,
    *,
    weights: ArrayLike | None = None,
    objective: str = "mask",
    ridge: float | None = None,
    time_limit: float = 60.0,
    gap: float = 1e-6,
    seed: int = 0,
    threads: int | None = None,
    device: str = "cpu",
    **more: Unpack[LayerExtras],
) -> LayerWork:
    """Masks and checked lower bounds for all rows of a layer, in at most `time_limit` seconds.

    weight: (d_out, d_in); gram: (d_in, d_in). mask: (d_out, d_in), True = kept, to be judged; None:
    masks are searched for. weights: of the mask, as in `certify`. objective, ridge: as in `solve`.
    gap: relative gap at which a row is
    closed. threads: all cores if None. more: further fields of the layer. Returns the work done:
    `total` has the sums, `rows` each row's certificate, `masks()` the masks, `proofs()` the proofs.
    Raises InputError, Refused.
    """
    problem = problem_of(weight, gram, pattern, mask, objective_spec(objective, ridge), **more)
    given = None if weights is None else weights_of(problem, weights)[1]
    limits = RunLimits(time_limit, gap, threads or cores(), device, seed)
    work = bounding(problem, limits, weights=given)
    for _ in work:
        pass
    return work

"""The work of bounding a whole layer, by the kind of its pattern."""

from collections.abc import Mapping

from maskgap.benchmarks.layers.rows import LayerBound
from maskgap.benchmarks.layers.sampled import Sample, SampledBound
from maskgap.benchmarks.layers.shared_budget import SharedBudgetBound
from maskgap.benchmarks.layers.work import LayerWork
from maskgap.benchmarks.runs.executor import Executor
from maskgap.benchmarks.runs.task import RunLimits
from maskgap.instances.arrays import Matrix
from maskgap.instances.errors import Refused
from maskgap.instances.formats.proof import PartProof
from maskgap.instances.problem import Problem


def bounding(
    problem: Problem,
    limits: RunLimits,
    *,
    runs: int | None = None,
    held: Mapping[int, PartProof] | None = None,
    executor: Executor | None = None,
    weights: Matrix | None = None,
    sample: Sample | None = None,
    enough: float | None = None,
) -> LayerWork:
    """The work on a layer; iterate to have it done.

    The arguments are those of `LayerWork`. sample: of rows that are bounded, None for all. Raises
    Refused for a pattern whose layers are not bounded as a whole, or not by a sample.
    """
    if problem.pattern.one_budget:
        if sample is not None:
            raise Refused(
                f"--sample takes P%, keep=K and N:M: rows that share the budget of "
                f"'{problem.pattern.text}' are not bounded one by one"
            )
        return SharedBudgetBound(
            problem,
            limits,
            runs=runs,
            held=held,
            executor=executor,
            weights=weights,
            enough=enough,
        )
    if not problem.pattern.equal_rows:
        raise Refused(
            f"bound takes P%, keep=K, N:M and layer:P%, not '{problem.pattern.text}'; "
            f"use solve with --solver fw-bnb{'' if problem.objective.refits else ' or sdp-bound'}"
        )
    if sample is not None:
        return SampledBound(
            problem, limits, sample, runs=runs, held=held, executor=executor, weights=weights
        )
    return LayerBound(
        problem, limits, runs=runs, held=held, executor=executor, weights=weights, enough=enough
    )

"""SCIP on one row or part: minimise t over binary z that meet the rows of their set, t >= z^T Q z.

All products are written out, and t is the epigraph of the loss (`solvers.native.scip_model`). The
other form of it is in `solvers.native.scip_factor`. The bound is claimed; SCIP's wheel has no exact
arithmetic.
"""

import time
from typing import Any

import numpy as np
from pyscipopt.scip import Term

from maskgap.instances.arrays import pruned_of
from maskgap.instances.problem import Part
from maskgap.solvers.mip.adapter import NativeRun
from maskgap.solvers.native.scip_model import (
    FEASIBILITY,
    LARGEST_ROW,
    Built,
    Watch,
    add_quadratic,
    empty_model,
    finish,
    give_start,
)
from maskgap.solvers.protocol import Answer, Limits
from maskgap.solvers.settings import WarmStart, settings


def build_epigraph(run: NativeRun, seed: int, reform_products: bool) -> Built:
    """The epigraph form. Raises OutOfTime."""
    since = time.perf_counter()
    model, z, t = empty_model(run, seed)
    model.setParam("constraints/nonlinear/reformbinprods", int(reform_products))
    terms: dict[Any, float] = {Term(t): -1.0}
    for i, row in enumerate(run.quad.tolist()):
        run.check_time()
        terms[Term(z[i], z[i])] = row[i]
        terms |= {Term(z[i], z[j]): 2.0 * row[j] for j in range(i + 1, len(z)) if row[j] != 0.0}
    add_quadratic(run, model, terms, since)
    if run.start is not None:
        pruned = pruned_of(run.start).astype(np.float64)
        loss = float(pruned @ run.quad @ pruned)
        give_start(model, [*zip(z, pruned, strict=True), (t, max(0.0, loss))])
    return Built(model, z, Watch(run, z))


@settings
class ScipMiqp:
    """SCIP, epigraph form."""

    reform_products: bool = True
    """Whether SCIP may replace products of binaries by linear relaxations of them."""
    warm_start: WarmStart = "none"
    """Score of a mask that it starts from, unless one is given."""

    def solve(self, problem: Part, limits: Limits, seed: int) -> Answer:
        """Mask, bound and nodes. Raises Refused for a row wider than LARGEST_ROW."""
        run = NativeRun(problem, limits, self.warm_start, seed, FEASIBILITY)
        return run.three_steps(
            LARGEST_ROW,
            "SCIP's model has n^2 / 2 products",
            lambda: build_epigraph(run, seed, self.reform_products),
            lambda built: finish(built, run),
        )

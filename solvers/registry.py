"""The register of solvers: explicit, lazily imported, with what each handles and whether it proves.

Adding a solver is one module with a frozen dataclass (its fields are its settings) and one line in
`SPECS`. Nothing is imported until a solver is built, so listing them loads no native library.
"""

import dataclasses
from collections.abc import Mapping
from importlib import import_module
from typing import cast

from maskgap.instances.errors import InputError
from maskgap.instances.masks.pattern import Pattern
from maskgap.instances.objective import MASK, ObjectiveSpec
from maskgap.instances.suggestions import did_you_mean
from maskgap.solvers.outside import outside
from maskgap.solvers.protocol import BatchSolver, Solver
from maskgap.solvers.spec import ALL_OBJECTIVES, NUMBA, ROW_PATTERNS, Spec

_SCIP = (("pyscipopt", "pyscipopt"),)
_HIGHS = (("highspy", "highspy"),)
_CVXPY = (("cvxpy", "cvxpy"),)

_ENTRIES = (
    Spec(
        "exhaustive",
        "maskgap.solvers.tree.exhaustive:Exhaustive",
        "every legal mask, up to 24 columns",
        proves=True,
        objectives=ALL_OBJECTIVES,
    ),
    Spec(
        "random",
        "maskgap.solvers.one_shot.scoring:Random",
        "uniformly random legal mask",
        batched=True,
        randomised=True,
    ),
    Spec(
        "magnitude",
        "maskgap.solvers.one_shot.scoring:Magnitude",
        "prune the smallest |w|",
        batched=True,
    ),
    Spec(
        "wanda",
        "maskgap.solvers.one_shot.scoring:Wanda",
        "prune the smallest |w| times input norm",
        batched=True,
    ),
    Spec(
        "ria",
        "maskgap.solvers.one_shot.scoring:Ria",
        "relative importance and activations",
        batched=True,
    ),
    Spec(
        "obs",
        "maskgap.solvers.one_shot.scoring:Obs",
        "Optimal Brain Surgeon saliency",
        batched=True,
    ),
    Spec(
        "sparsegpt",
        "maskgap.solvers.one_shot.sparsegpt:SparseGpt",
        "SparseGPT: mask and weights by columns from left to right",
        batched=True,
        patterns=ROW_PATTERNS,
        objectives=ALL_OBJECTIVES,
    ),
    Spec(
        "obs-greedy",
        "maskgap.solvers.one_shot.obs_greedy:ObsGreedy",
        "one weight at a time in the order of ExactOBS",
        batched=True,
        requires=NUMBA,
        patterns=ROW_PATTERNS,
        objectives=ALL_OBJECTIVES,
    ),
    Spec(
        "alps",
        "maskgap.solvers.one_shot.alps:Alps",
        "ADMM on weights with budgets, then re-optimised (ALPS)",
        batched=True,
        patterns=ROW_PATTERNS,
        objectives=ALL_OBJECTIVES,
    ),
    Spec(
        "dsnot",
        "maskgap.solvers.one_shot.dsnot:Dsnot",
        "exchanges that lower the expected error",
        batched=True,
        patterns=ROW_PATTERNS,
    ),
    Spec(
        "sparsefw",
        "maskgap.solvers.one_shot.sparsefw:SparseFw",
        "Frank-Wolfe on the relaxed mask, rounded",
        batched=True,
        patterns=ROW_PATTERNS,
    ),
    Spec(
        "swap",
        "maskgap.solvers.local_search.swap:Swap",
        "1-swap local search (SparseSwaps), compiled for processors and CUDA",
        batched=True,
        requires=NUMBA,
        objectives=ALL_OBJECTIVES,
    ),
    Spec(
        "search",
        "maskgap.solvers.local_search.search:Search",
        "recombined local optima, improved by 1-swaps: near the optimum in seconds",
        batched=True,
        randomised=True,
        requires=NUMBA,
        objectives=ALL_OBJECTIVES,
    ),
    Spec(
        "scip-miqp",
        "maskgap.solvers.native.scip:ScipMiqp",
        "SCIP, quadratic epigraph",
        proves=True,
        claims=True,
        requires=_SCIP,
    ),
    Spec(
        "scip-factor",
        "maskgap.solvers.native.scip_factor:ScipFactor",
        "SCIP, factor form with a diagonal shift",
        proves=True,
        claims=True,
        requires=_SCIP + NUMBA,
        objectives=ALL_OBJECTIVES,
    ),
    Spec(
        "highs-milp",
        "maskgap.solvers.native.highs_milp:HighsMilp",
        "HiGHS, products linearised with RLT rows",
        proves=True,
        claims=True,
        requires=_HIGHS,
    ),
    Spec(
        "highs-oa",
        "maskgap.solvers.native.highs_oa:HighsOuterApproximation",
        "HiGHS, multi-tree outer approximation",
        proves=True,
        claims=True,
        requires=_HIGHS + NUMBA,
        objectives=ALL_OBJECTIVES,
    ),
    Spec(
        "cvxpy-miqp",
        "maskgap.solvers.native.cvxpy_miqp:CvxpyMiqp",
        "cvxpy model through SCIP",
        proves=True,
        claims=True,
        requires=_CVXPY + _SCIP,
    ),
    Spec(
        "qp-bound",
        "maskgap.solvers.bounds.relaxations:QpBound",
        "convex QP relaxation: bound with proof",
        bound_only=True,
        requires=_CVXPY + NUMBA,
    ),
    Spec(
        "sdp-bound",
        "maskgap.solvers.bounds.relaxations:SdpBound",
        "SDP relaxation, with triangle inequalities if asked: bound with proof",
        bound_only=True,
        requires=_CVXPY + NUMBA,
    ),
    Spec(
        "shift-bound",
        "maskgap.solvers.bounds.shift_bound:ShiftBound",
        "one diagonal shift for all rows of a layer: bounds with proofs, for wide rows",
        bound_only=True,
        batched=True,
        patterns=ROW_PATTERNS,
    ),
    Spec(
        "lowrank-bound",
        "maskgap.solvers.bounds.lowrank_bound:LowRankBound",
        "the semidefinite relaxation of wide rows by a low-rank method: bounds with proofs",
        bound_only=True,
        batched=True,
        requires=NUMBA,
        patterns=ROW_PATTERNS,
    ),
    Spec(
        "fw-bnb",
        "maskgap.solvers.tree.fw_bnb:FwBnb",
        "Frank-Wolfe branch and bound on a convex reformulation, with proof",
        proves=True,
        requires=NUMBA,
        objectives=ALL_OBJECTIVES,
    ),
    Spec(
        "fw-bnb-highs",
        "maskgap.solvers.tree.fw_bnb:FwBnbHighs",
        "the same with HiGHS as linear minimisation oracle",
        proves=True,
        requires=NUMBA + _HIGHS,
        objectives=ALL_OBJECTIVES,
    ),
    Spec(
        "fw-bnb-scip",
        "maskgap.solvers.tree.fw_bnb:FwBnbScip",
        "the same with SCIP as linear minimisation oracle",
        proves=True,
        requires=NUMBA + _SCIP,
        objectives=ALL_OBJECTIVES,
    ),
    Spec(
        "gurobi",
        "maskgap.solvers.native.gurobi:Gurobi",
        "Gurobi MIQP (optional, its licence limits size)",
        proves=True,
        claims=True,
        requires=(("gurobipy", "gurobipy"), *NUMBA),
        objectives=ALL_OBJECTIVES,
    ),
)


def _register(entries: tuple[Spec, ...]) -> dict[str, Spec]:
    table: dict[str, Spec] = {}
    for spec in entries:
        if spec.name in table:
            raise ValueError(f"solver {spec.name} is registered twice")
        table[spec.name] = spec
    return table


SPECS: dict[str, Spec] = _register(_ENTRIES)


def spec_of(name: str) -> Spec:
    """The entry of a solver, or of a class outside the register named as 'module:Class'.

    The latter imports the module, so the name must be the user's (`instances.own_modules`). Raises
    InputError that lists the names.
    """
    if ":" in name:
        return outside(name)
    if name not in SPECS:
        meant = did_you_mean(name, SPECS)
        raise InputError(f"no solver '{name}'; the solvers are {', '.join(SPECS)}{meant}")
    return SPECS[name]


def refusal(spec: Spec, pattern: Pattern, objective: ObjectiveSpec = MASK) -> str | None:
    """Why it does not take a pattern or an objective, and which solvers do; None if it does."""
    kind = pattern.form
    if kind not in spec.patterns:
        others = ", ".join(s.name for s in SPECS.values() if kind in s.patterns)
        return (
            f"{spec.name} takes patterns {', '.join(spec.patterns)}, not '{pattern.text}'; "
            f"those of the kind {kind} are taken by {others}"
        )
    if not spec.takes(objective):
        name = objective.name
        others = ", ".join(s.name for s in SPECS.values() if name in s.objectives) or "none"
        return (
            f"{spec.name} bounds the loss of objective {', '.join(spec.objectives)}, not "
            f"'{name}'; {name} is minimised by {others}, and solvers that give masks alone "
            "are judged under it"
        )
    return None


def setting_names(name: str) -> list[str]:
    """The settings a solver takes. Imports its module."""
    return [f.name for f in dataclasses.fields(factory_of(name))]


def factory_of(name: str) -> type:
    """The class of a solver, whose fields are its settings. Imports its module."""
    module, _, attribute = spec_of(name).target.partition(":")
    return cast(type, getattr(import_module(module), attribute))


def build(name: str, settings: Mapping[str, object] | None = None) -> Solver | BatchSolver:
    """Make a solver with the given settings, read and checked as `solvers.settings` says.

    Raises InputError for an unknown solver, setting or value. The module is imported here, so the
    caller checks `Spec.missing` first.
    """
    from maskgap.solvers.settings import checked_values, not_made  # not for a list of names

    factory = factory_of(name)
    values = checked_values(name, factory, settings or {})
    try:
        return cast("Solver | BatchSolver", factory(**values))
    except InputError:
        raise
    except Exception as error:  # a class of the user's own may raise anything
        raise not_made(name, error) from error


def settings_of(solver: Solver | BatchSolver) -> dict[str, object]:
    """All settings of a built solver, defaults included, in the order in which it declares them.

    Raises InputError for one that no record can hold.
    """
    values: dict[str, object] = dataclasses.asdict(solver)  # type: ignore[call-overload]
    for name, value in values.items():
        if not isinstance(value, bool | int | float | str | None):
            raise InputError(
                f"solver '{type(solver).__name__}': setting {name} is a {type(value).__name__}; a "
                "setting is a number, a text, true or false"
            )
    return values

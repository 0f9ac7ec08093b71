"""The register of solvers: explicit, lazily imported, with what each handles and whether it proves.

Adding a solver is one module with a frozen dataclass (its fields are its settings) and one line in
`SPECS`. Nothing is imported until a solver is built, so listing them loads no native library.
"""

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from importlib import import_module
from importlib.util import find_spec
from typing import cast

from maskgap.instances.errors import InputError
from maskgap.instances.masks.pattern import Pattern
from maskgap.instances.masks.patterns import PATTERNS
from maskgap.instances.objective import MASK, ObjectiveName, ObjectiveSpec
from maskgap.instances.own_modules import load
from maskgap.instances.suggestions import did_you_mean
from maskgap.solvers.protocol import BatchSolver, Solver

INSTALL = "pip install "
"""How the reason begins for which a solver that is not installed has no answer."""

ALL_PATTERNS = tuple(kind.form for kind in PATTERNS)
ROW_PATTERNS = tuple(kind.form for kind in PATTERNS if kind.equal_rows)

MASK_ALONE = (str(ObjectiveName.MASK),)
ALL_OBJECTIVES = tuple(str(name) for name in ObjectiveName)


@dataclass(frozen=True, slots=True)
class Spec:
    """One entry of the register.

    proves: it can give a lower bound that reaches the optimum. bound_only: it gives a bound and no
    mask of its own. claims: its bound is its own word, without a proof. batched: it takes all rows
    at once. randomised: its answer depends on the seed. requires: the modules it imports, with the
    package to install for each. patterns: the kinds it takes; a solver may still refuse some
    problems of a kind, in words. objectives: those it minimises; one that gives masks and proves
    nothing is run under any other on the loss of masks, and its masks are judged under that.
    """

    name: str
    target: str
    summary: str
    proves: bool = False
    bound_only: bool = False
    claims: bool = False
    batched: bool = False
    randomised: bool = False
    requires: tuple[tuple[str, str], ...] = ()
    patterns: tuple[str, ...] = ALL_PATTERNS
    objectives: tuple[str, ...] = MASK_ALONE

    @property
    def missing(self) -> str | None:
        """Why it cannot run here ('pip install ...'), or None when it can."""
        for module, package in self.requires:
            if find_spec(module) is None:
                return f"{INSTALL}{package}"
        return None

    @property
    def gives(self) -> str:
        """What it has to offer beside a mask: proof, claim, bound (and no mask), or mask alone."""
        if self.bound_only:
            return "bound"
        return "mask" if not self.proves else "claim" if self.claims else "proof"

    @property
    def compiled(self) -> bool:
        """Whether it has compiled kernels."""
        return _NUMBA[0] in self.requires

    def takes(self, objective: ObjectiveSpec) -> bool:
        """Whether it can be run under an objective: as its own, or for its masks."""
        return objective.name in self.objectives or not (self.proves or self.bound_only)

    def refusal(self, pattern: Pattern, objective: ObjectiveSpec = MASK) -> str | None:
        """Why it does not take a pattern or an objective, and which solvers do; None if it does."""
        kind = pattern.form
        if kind not in self.patterns:
            others = ", ".join(spec.name for spec in SPECS.values() if kind in spec.patterns)
            return (
                f"{self.name} takes patterns {', '.join(self.patterns)}, not '{pattern.text}'; "
                f"those of the kind {kind} are taken by {others}"
            )
        if not self.takes(objective):
            name = objective.name
            others = ", ".join(s.name for s in SPECS.values() if name in s.objectives) or "none"
            return (
                f"{self.name} bounds the loss of objective {', '.join(self.objectives)}, not "
                f"'{name}'; {name} is minimised by {others}, and solvers that give masks alone "
                "are judged under it"
            )
        return None


_NUMBA = (("numba", "numba"),)
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
        requires=_NUMBA,
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
        requires=_NUMBA,
        objectives=ALL_OBJECTIVES,
    ),
    Spec(
        "search",
        "maskgap.solvers.local_search.search:Search",
        "recombined local optima, improved by 1-swaps: near the optimum in seconds",
        batched=True,
        randomised=True,
        requires=_NUMBA,
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
        requires=_SCIP + _NUMBA,
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
        requires=_HIGHS + _NUMBA,
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
        requires=_CVXPY + _NUMBA,
    ),
    Spec(
        "sdp-bound",
        "maskgap.solvers.bounds.relaxations:SdpBound",
        "SDP relaxation, with triangle inequalities if asked: bound with proof",
        bound_only=True,
        requires=_CVXPY + _NUMBA,
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
        requires=_NUMBA,
        patterns=ROW_PATTERNS,
    ),
    Spec(
        "fw-bnb",
        "maskgap.solvers.tree.fw_bnb:FwBnb",
        "Frank-Wolfe branch and bound on a convex reformulation, with proof",
        proves=True,
        requires=_NUMBA,
        objectives=ALL_OBJECTIVES,
    ),
    Spec(
        "fw-bnb-highs",
        "maskgap.solvers.tree.fw_bnb:FwBnbHighs",
        "the same with HiGHS as linear minimisation oracle",
        proves=True,
        requires=_NUMBA + _HIGHS,
        objectives=ALL_OBJECTIVES,
    ),
    Spec(
        "fw-bnb-scip",
        "maskgap.solvers.tree.fw_bnb:FwBnbScip",
        "the same with SCIP as linear minimisation oracle",
        proves=True,
        requires=_NUMBA + _SCIP,
        objectives=ALL_OBJECTIVES,
    ),
    Spec(
        "gurobi",
        "maskgap.solvers.native.gurobi:Gurobi",
        "Gurobi MIQP (optional, its licence limits size)",
        proves=True,
        claims=True,
        requires=(("gurobipy", "gurobipy"), *_NUMBA),
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
        return _outside(name)
    if name not in SPECS:
        meant = did_you_mean(name, SPECS)
        raise InputError(f"no solver '{name}'; the solvers are {', '.join(SPECS)}{meant}")
    return SPECS[name]


@cache
def _outside(target: str) -> Spec:
    module, _, attribute = target.partition(":")
    factory = getattr(load(module, f"solver '{target}'"), attribute, None)
    if not dataclasses.is_dataclass(factory):
        raise InputError(
            f"solver '{target}': {module} has no dataclass '{attribute}', whose fields would be "
            "its settings"
        )
    if not (hasattr(factory, "solve") or hasattr(factory, "solve_rows")):
        raise InputError(f"solver '{target}' has neither solve nor solve_rows (solvers/README.md)")
    return Spec(
        target,
        target,
        "outside the register",
        batched=hasattr(factory, "solve_rows"),
        objectives=_objectives(target, factory),
    )


def _objectives(target: str, factory: object) -> tuple[str, ...]:
    """What a class outside the register says that it minimises, by its attribute `objectives`."""
    said = getattr(factory, "objectives", MASK_ALONE)
    if not (isinstance(said, tuple) and said and all(name in ALL_OBJECTIVES for name in said)):
        raise InputError(
            f"solver '{target}': objectives must be a tuple of {', '.join(ALL_OBJECTIVES)}"
        )
    return tuple(str(name) for name in said)


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

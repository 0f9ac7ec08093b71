"""SHOT (Lundell, Kronqvist and Westerlund 2022): supporting hyperplanes, with HiGHS as MIP solver.

It is given a quadratic objective as it stands, sum P_ij x_i x_j + q^T x + c; other convex functions
would have to be expressions of its own, and are refused. Its log has the clock and is switched off.
"""

import numpy as np
import SHOTpy

from maskgap.instances.errors import Refused
from maskgap.instances.program import MixedSet, Program, QuadraticForm
from maskgap.solvers.native.programs.protocol import ProgramAnswer, ProgramLimits

SILENT = 6
"""Its highest level of messages is 5."""


def shot(program: Program, limits: ProgramLimits) -> ProgramAnswer:
    """Run SHOT. Raises Refused where the objective is no quadratic."""
    form = program.objective
    if not isinstance(form, QuadraticForm):
        raise Refused("SHOT takes quadratics: value and gradient are not enough for it")
    solver = SHOTpy.Solver()
    options: dict[str, float | int] = {
        "Output.Console.LogLevel": SILENT,
        "Output.File.LogLevel": SILENT,
        "Termination.TimeLimit": limits.seconds,
        "Termination.ObjectiveGap.Relative": limits.gap,
        "Termination.ObjectiveGap.Absolute": 0.0,
        "Dual.MIP.NumberOfThreads": limits.threads,
        "Dual.MIP.Solver": int(SHOTpy.MIPSolver.Highs),
    }
    for name, value in options.items():
        solver.updateSetting(name, value)
    problem = SHOTpy.Problem(solver)
    variables = _variables(problem, program.space)
    _rows(problem, variables, program.space)
    problem.setObjective(_objective(variables, form))
    problem.finalize()
    solver.setProblem(problem)
    solver.solveProblem()
    point = None
    if solver.hasPrimalSolution():
        point = np.array(solver.getPrimalSolution().point[: program.space.n], dtype=np.float64)
    statistics = solver.getSolutionStatistics()
    return ProgramAnswer(
        point,
        solver.getTerminationReason().name,
        float(solver.getGlobalDualBound()),
        calls=int(statistics.numberOfIterations),
    )


def _variables(problem: SHOTpy.Problem, space: MixedSet) -> list[SHOTpy.Variable]:
    kinds = {True: SHOTpy.VariableType.Integer, False: SHOTpy.VariableType.Real}
    binary = space.integral & (space.lower == 0.0) & (space.upper == 1.0)
    return [
        problem.addVariable(
            f"x{j}",
            SHOTpy.VariableType.Binary if binary[j] else kinds[bool(space.integral[j])],
            float(space.lower[j]),
            float(space.upper[j]),
        )
        for j in range(space.n)
    ]


def _terms(variables: list[SHOTpy.Variable], coefficients: np.ndarray) -> SHOTpy.LinearTerms:
    used = np.flatnonzero(coefficients)
    return SHOTpy.LinearTerms(
        [SHOTpy.LinearTerm(float(coefficients[j]), variables[j]) for j in used]
    )


def _rows(problem: SHOTpy.Problem, variables: list[SHOTpy.Variable], space: MixedSet) -> None:
    sides = zip(space.matrix, space.row_lower, space.row_upper, strict=True)
    for i, (row, least, most) in enumerate(sides):
        low = float(least) if np.isfinite(least) else SHOTpy.SHOT_DBL_MIN
        high = float(most) if np.isfinite(most) else SHOTpy.SHOT_DBL_MAX
        problem.addConstraint(SHOTpy.LinearConstraint(f"row{i}", _terms(variables, row), low, high))


def _objective(
    variables: list[SHOTpy.Variable], form: QuadraticForm
) -> SHOTpy.QuadraticObjectiveFunction:
    twice = np.triu(form.matrix, 1) * 2.0 + np.diag(form.matrix.diagonal())
    first, second = np.nonzero(twice)
    quadratic = SHOTpy.QuadraticTerms(
        twice[first, second].tolist(),
        [variables[i] for i in first],
        [variables[j] for j in second],
    )
    return SHOTpy.QuadraticObjectiveFunction(
        SHOTpy.ObjectiveDirection.Minimize,
        _terms(variables, form.linear),
        quadratic,
        float(form.constant),
    )

"""Convex objectives for `maskgap.minimise` that state more than value and gradient."""

from maskgap.solvers.objectives.convex.automatic import jax, torch
from maskgap.solvers.objectives.convex.design import a_optimal, d_optimal
from maskgap.solvers.objectives.convex.losses import logistic, poisson
from maskgap.solvers.objectives.convex.quadratic import least_squares, quadratic

__all__ = [
    "a_optimal",
    "d_optimal",
    "jax",
    "least_squares",
    "logistic",
    "poisson",
    "quadratic",
    "torch",
]

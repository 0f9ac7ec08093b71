"""Convex objectives for `maskgap.minimise` that state more than value and gradient."""

from maskgap.solvers.objectives.convex.quadratic import least_squares, quadratic

__all__ = ["least_squares", "quadratic"]

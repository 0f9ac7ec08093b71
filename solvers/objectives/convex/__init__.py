"""Convex objectives of `maskgap.minimise` that state more than value and gradient."""

"""Runs of solvers, what is certified of them, and what people read."""

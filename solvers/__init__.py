"""Solvers of mask problems; `registry` lists them."""

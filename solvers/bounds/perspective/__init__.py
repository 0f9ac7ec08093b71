"""Bounds of the refit objective: diagonals of perspective functions, and the best of them."""

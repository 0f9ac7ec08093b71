"""Bounds of the refit objective by perspectives: diagonals, and the saddle point that has the best."""

"""Exact and heuristic solvers for pruning masks, and the gaps between them, certified."""

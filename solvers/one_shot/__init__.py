"""Scores of weights, and the baselines that prune by them in one pass."""

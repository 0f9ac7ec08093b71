"""Branch and bound with multipliers that are re-optimised at every node."""

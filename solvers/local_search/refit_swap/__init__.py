"""1-swap local search on the refit loss: weights that stay are re-optimised at every look."""

"""From a model to a pruned, evaluated checkpoint."""

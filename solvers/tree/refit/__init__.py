"""Branch and bound of the refit objective over equal groups, with a diagonal of its own a node."""

"""Linear minimisation oracles over the masks of a node."""

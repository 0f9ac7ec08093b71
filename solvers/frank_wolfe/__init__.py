"""Frank-Wolfe branch and bound: node kernel, tree, and the registered solver."""

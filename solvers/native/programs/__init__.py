"""SHOT, SCIP and Gurobi on convex programs over mixed-integer sets (`instances.program`)."""

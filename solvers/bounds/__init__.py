"""Lower bounds shared by several solvers: convex functions, their minimisers, relaxations."""

"""SCIP, HiGHS, cvxpy and Gurobi as solvers."""

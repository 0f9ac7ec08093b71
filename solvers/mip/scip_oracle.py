"""How SCIP is set to answer as an oracle: small models, many calls, each to the end."""

TOLERANCE = 1e-7
"""Feasibility and dual feasibility; from 1e-8 on, SCIP asks its LP solver for too much."""

PARAMETERS = {
    "numerics/feastol": TOLERANCE,
    "numerics/dualfeastol": TOLERANCE,
    "limits/gap": 0.0,
    "limits/absgap": 0.0,
    "presolving/maxrounds": 0,
    "misc/usesymmetry": 0,
}

"""The engine for equal budget groups and quadratics: nodes, steps and frontier are compiled."""

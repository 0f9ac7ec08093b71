"""Quadratics over few rows: a compiled search, whose nodes differ from their parents by pivots."""

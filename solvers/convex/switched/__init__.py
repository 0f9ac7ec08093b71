"""Quadratics with switched variables, minimised over the switches alone."""

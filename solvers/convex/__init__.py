"""Minimising any convex function over a mixed-integer set that an oracle stands for."""

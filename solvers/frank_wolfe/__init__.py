"""Minimising convex functions over a hull of masks."""

"""Compiled kernels: their decorators, and where they are kept."""

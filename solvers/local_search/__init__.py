"""Swaps, neighbourhoods and populations."""

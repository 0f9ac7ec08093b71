"""Whole layers: all rows solved, bounded and summed."""

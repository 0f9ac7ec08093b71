"""Pruned models: masks in checkpoints, and what they cost."""

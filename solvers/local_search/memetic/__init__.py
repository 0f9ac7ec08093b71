"""Memetic search of a row's masks: local optima that are recombined and improved by 1-swaps."""

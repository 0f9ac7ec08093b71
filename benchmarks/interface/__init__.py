"""The Python interface on arrays."""

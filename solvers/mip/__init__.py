"""Models as native mixed-integer solvers take them, and the way back."""

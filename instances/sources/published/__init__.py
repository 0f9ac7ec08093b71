"""Published instances of mixed-integer convex optimisation, made again from their seeds."""

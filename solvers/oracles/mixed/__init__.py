"""Linear minimisation oracles of mixed-integer sets, seen through bounds on their variables."""

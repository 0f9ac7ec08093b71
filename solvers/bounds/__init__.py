"""Functions that bound the loss from below, and the solvers that state such bounds."""

"""Certificates and the checker of proofs, which knows problems and files alone.

A new kind of set of masks with a closed form brings a class as in `equal_groups` and a line in
`sets`. A new objective brings two files: its value on a mask as an interval that holds for the real
numbers behind the data, as `objective` has it for the mask loss, and the functions that are at most
that value on every legal mask, with what shows it, as `quadratic` (and `shared_shift`) has them.
The course of a check, trees, and minima over leaves ask nothing of the objective: a leaf is bounded
by an affine function, whose least value over the leaf's masks a `checked_set` gives.
"""

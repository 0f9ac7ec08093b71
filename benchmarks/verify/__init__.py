"""Certificates and the checker of proofs, which knows problems and files alone.

A new kind of set of masks with a closed form brings a class as in `equal_groups` and a line in
`sets`. A new kind of proof brings a file that sees whether its evidence has the right form and
derives the bound, as `leaves`, `shared_shift` and `refit` do, and a line in `kinds`; where it can
bound single rows that share a budget, a line in `shared_budget`.

A new objective brings two files: its value on a mask as an interval that holds for the real numbers
behind the data, as `objective` has it, and the functions that are at most that value on every legal
mask, with what shows it: `quadratic` has those of the mask loss, `perspective` of the refit loss.
The course of a check (`check`), trees, and minima over leaves ask nothing of the objective: a leaf
is bounded by an affine function, whose least value over the leaf's masks a `checked_set` gives.
"""

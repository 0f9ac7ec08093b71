"""A low-rank method for the semidefinite relaxations of wide rows, all rows of a batch at once."""

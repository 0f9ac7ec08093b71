"""Seeded problems and proof files made to break the certificate, judged in exact arithmetic.

    python -m tests.fuzz --problems 100000 --processes 2       (and --proofs 10000, --refits 20000)

A problem is a small layer of a nasty family under a pattern of any kind; a solver runs on it, or
functions of subtrees are made for it with numpy, and what is certified is compared with the least
loss found by listing every mask in exact arithmetic.
Under refit, where kept weights are re-optimised, proofs are made with numpy and altered in memory.
A proof file is an honest one that was altered and signed again; whatever is accepted of it must
hold. The same functions run a smaller number in the test suite.
"""

"""What proofs rest on, a class a kind in a file of its own, which also says how it lies on disk.

A new kind is one class here with its line in `kinds`, and its checker in `benchmarks.verify` with
its line there.
"""

"""Certificates and the checker of proofs, which knows problems and files alone."""

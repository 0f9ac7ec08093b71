"""The engine for any objective and any set of masks, which it sees through an oracle alone."""

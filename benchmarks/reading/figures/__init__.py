"""One file a figure; each takes the contests of a run and returns a matplotlib figure."""

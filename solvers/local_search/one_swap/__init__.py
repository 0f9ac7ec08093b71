"""The best 1-swap of a row: the rule, compiled for processors, and in torch for other devices."""

"""Which masks are legal: patterns, sets of masks, their exact oracles and rows."""

"""Sets of legal masks beyond equal budget groups."""

"""How masks are found and bounded: one file per solver or family, and the register."""

"""What is minimised, and convex functions that are at most that on legal masks."""

"""What is solved: layers, problems, and where they come from."""

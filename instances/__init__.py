"""What is solved: layers, row problems, patterns, files, the format of a proof."""

"""Where problems come from: shipped layers, synthetic ones, blocks of others."""

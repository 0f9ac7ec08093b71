"""Files of layers, masks and proofs: read strictly, written without harm."""

"""Torch models: their weight matrices, calibration data and extraction."""

"""Noise: of channels, which follows from their definitions, and of the injected current."""

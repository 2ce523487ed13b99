"""Fits of models to recordings, and how good they are."""

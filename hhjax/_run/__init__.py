"""Runs: the loop over time, what is kept of it, sweeps, and runs to disk."""

"""Neurons and networks of them: their state, their equations, and the names of their parameters."""

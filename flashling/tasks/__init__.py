"""Generators of training data and of task samples: plain Python, deterministic from a seed."""

"""Agents: a loop between a model and its tools. The model comes as a callable."""

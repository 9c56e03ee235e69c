"""How well a model does: held-out tasks and their scores."""

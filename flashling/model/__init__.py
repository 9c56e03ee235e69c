"""The model: one definition for training, serving and scoring."""

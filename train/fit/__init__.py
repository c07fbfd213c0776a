"""Fit heads on frozen embeddings: new classes of a model, and numbers."""

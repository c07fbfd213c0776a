"""Batches, optimisation steps and training state."""

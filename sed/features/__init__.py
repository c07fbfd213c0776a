"""Samples to log-mel spectrograms."""

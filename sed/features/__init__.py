"""Compute log-mel spectrograms."""

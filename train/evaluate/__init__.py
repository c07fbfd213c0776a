"""Predictions of trained models and their metrics."""

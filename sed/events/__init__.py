"""Decode events from frame probabilities, and write events to files."""

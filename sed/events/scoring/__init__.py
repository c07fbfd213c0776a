"""Metrics of detected events against reference events."""

"""Samples to events over a stream: features, windows, overlap-add, detector."""

"""Heads of the network: attention heads over frames, and heads that add classes."""

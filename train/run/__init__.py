"""Whole training runs and their directories."""

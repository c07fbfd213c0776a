"""A model as one graph that runs without this package."""

"""Export a model as one graph that runs without this package."""

"""How a checkpoint comes to be."""

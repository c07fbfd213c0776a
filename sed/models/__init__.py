"""The network, its losses, its checkpoint and the model that ships."""

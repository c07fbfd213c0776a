"""A trained network in use: fused layers, outputs of layers as embeddings, receptive fields."""

"""Search a store of embeddings for sound like examples."""

"""Keep embeddings of recordings in files that are opened without this package."""

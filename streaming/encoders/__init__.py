"""Frozen encoders that turn samples into embeddings: of Hugging Face, and graphs in ONNX."""

"""Sound of any length through a model in bounded memory."""

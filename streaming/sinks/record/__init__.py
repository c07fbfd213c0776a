"""The database of live events: its tables, questions to it, and changes that people make."""

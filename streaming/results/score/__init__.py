"""Score tables of events against what is true, and write the figures."""

"""The commands detect, listen, bench, export and info."""

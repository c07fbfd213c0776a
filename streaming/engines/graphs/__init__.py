"""Graphs of others, from samples or log-mel to class scores: labels, description, runtimes."""

"""Microphones, URLs and files as live input."""

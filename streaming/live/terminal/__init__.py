"""The terminal view of live input."""

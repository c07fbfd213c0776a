"""Frame probabilities to events, and events to files."""

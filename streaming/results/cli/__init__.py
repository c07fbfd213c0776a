"""Commands that work on tables of events."""

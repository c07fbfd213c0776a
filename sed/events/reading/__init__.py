"""Tables and annotations that people and other programs wrote."""

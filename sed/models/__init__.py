"""Build, load and measure networks; models by name."""

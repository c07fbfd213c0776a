"""Build, load and measure networks; the default model."""

"""Changes to waveforms and spectrograms that make training data richer."""

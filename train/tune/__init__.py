"""Choose thresholds and post-processing of each class for the recordings of one place."""

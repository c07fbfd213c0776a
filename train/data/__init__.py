"""Tables, folds and clips."""

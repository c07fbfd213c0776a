"""The parts of the event tracker: running median, runs of frames, what is reported."""

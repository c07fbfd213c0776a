"""Cut the sound of events from their recordings."""

"""Audio of any kind to a folder that training reads fast."""

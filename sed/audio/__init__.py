"""Read sound: decoders, resampling, search for recordings, their start times."""

"""Reading sound: decoders, resampling, finding recordings and when they began."""

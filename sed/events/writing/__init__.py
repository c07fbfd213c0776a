"""Writing of events in text formats, Parquet and NPZ."""

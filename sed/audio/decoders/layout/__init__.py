"""Read from the bytes of a file where recordings begin, where they end, and what is missing."""

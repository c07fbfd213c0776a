"""The command `sed listen`: its options, its configuration file, and what it writes to."""

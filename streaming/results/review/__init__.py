"""Review events on a local page: queue, decisions, precision, export."""

"""Rules that decide which events go to alerts: pure functions of the stream of events."""

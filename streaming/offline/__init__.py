"""Recordings to files of events, on one machine or a cluster."""

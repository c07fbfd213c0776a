"""Summarise tables of events: counts by time and place, with the hours that were recorded."""

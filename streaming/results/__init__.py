"""What is made of tables of events after a scan: scores, clips, summaries, reviewed labels."""

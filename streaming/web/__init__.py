"""The web page of live input."""

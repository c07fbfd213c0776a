"""The web page of live detection: server, authentication, routes, JSON feed."""

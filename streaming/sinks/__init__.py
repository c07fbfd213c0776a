"""Sinks for live messages: files, clips, a database, MQTT, webhooks, commands."""

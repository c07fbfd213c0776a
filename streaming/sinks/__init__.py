"""Where live events go: files, clips, a database, MQTT, webhooks, commands."""

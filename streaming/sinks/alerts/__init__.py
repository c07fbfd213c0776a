"""Pass events on to other programs and services: commands, webhooks, MQTT."""

"""Twilio's protocol: read its requests, write the answers. Nothing here imports FastAPI."""

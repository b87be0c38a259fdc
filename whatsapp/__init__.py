"""Twilio's protocol: what it sends, and what we answer. Nothing here knows FastAPI."""

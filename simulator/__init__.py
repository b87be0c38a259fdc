"""Plays Twilio and a customer."""

"""Whoever means us ill: forgers, guessers, senders of anything, of too much or too slowly."""

"""What takes a forgotten contact's place."""

FORGOTTEN = "forgotten-"
"""How a pseudonym begins. No customer's address may."""

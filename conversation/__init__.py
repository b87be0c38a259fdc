"""What the bot says: pure functions of a message and its situation."""

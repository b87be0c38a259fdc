"""The only writer of messages: queue and group commit."""

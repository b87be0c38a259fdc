"""Access: keys, sessions, origins, rate limits, security headers."""

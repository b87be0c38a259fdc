"""Check that log, reviews and client history agree. It reads only."""

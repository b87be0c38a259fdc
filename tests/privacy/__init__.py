"""Facts about privacy."""

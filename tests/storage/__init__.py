"""Facts about storage."""

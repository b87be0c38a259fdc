"""Facts about conversation."""

"""Facts about simulator."""

"""Facts about web.security."""

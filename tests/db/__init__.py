"""Facts about db."""

"""Facts about audit."""

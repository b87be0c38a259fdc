"""Facts about cli."""

"""The only place that deletes words."""

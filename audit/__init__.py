"""Checks of what the database has: they read, compare and write nothing."""

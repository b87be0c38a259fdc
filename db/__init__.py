"""The database below the tables: SQLite's files, and text that can't be read."""

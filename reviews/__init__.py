"""All SQL on reviews, and how they are shown."""

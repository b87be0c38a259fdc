"""All SQL on reviews, and their forms as JSON, CSV and words."""

"""The pages that an owner reads."""

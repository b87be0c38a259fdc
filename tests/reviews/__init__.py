"""Facts about reviews."""

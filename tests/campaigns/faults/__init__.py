"""Real processes: what a load of customers sees, and what is recorded, while something breaks."""

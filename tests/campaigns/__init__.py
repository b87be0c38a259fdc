"""Long campaigns: schedules, faults, mutants, hostile input."""

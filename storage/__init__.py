"""All SQL on the message log: where contacts stand, their locks, and a cache."""

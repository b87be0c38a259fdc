"""The commands of run.py: one module for each word, with `add_arguments` and `run`."""

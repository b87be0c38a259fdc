"""Wrong versions of our own code, to see that the tests would notice.

Each is a change of a few lines, made in a copy of the program.
"""

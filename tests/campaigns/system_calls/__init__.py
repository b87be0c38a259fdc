"""A server that ends, or fails, at each system call that writes: the first, the second, and so on.

As SQLite's crash tests do it (https://sqlite.org/testing.html), by strace's fault injection.
"""

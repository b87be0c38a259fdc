"""The service in virtual time: real code on a real SQLite, everything around it played by a seed.

Customers, Twilio, several workers, a Redis and every fault between them take turns in one thread;
what happens next is decided by choices that can be played again. The simulations of FoundationDB
(https://apple.github.io/foundationdb/testing.html) are the model.
"""

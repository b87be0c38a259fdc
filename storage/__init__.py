"""Contacts' locks, the SQL of a batch, and a cache of where contacts stand."""

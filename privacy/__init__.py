"""Erase what customers wrote: one review, a whole contact, or what is old."""

"""Nouns: resources, plans, facts and the kinds a user writes. Pure values, no I/O, no clock, no log."""

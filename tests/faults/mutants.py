"""Bugs on purpose."""

MUTANTS = {}

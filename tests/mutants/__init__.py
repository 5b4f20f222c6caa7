"""Bugs that users of others' software have published, each seeded into ours once, to see a named test fail.

A file of ``rows/`` is one published pattern: what happened to whom, what ours does instead, and one or more bugs that would
bring it about. :mod:`mutants.run` (``make mutants``) plants them one at a time in a copy of ``src`` and runs the tests that
are named beside them. A bug that no test sees is a hole in the tests, and fails the run.
"""

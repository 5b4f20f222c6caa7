"""Tests of the kinds that users write."""

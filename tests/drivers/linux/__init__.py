"""Tests of the Linux gateway."""

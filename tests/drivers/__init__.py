"""Tests of the device edge."""

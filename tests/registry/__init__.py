"""Tests of files and of the state directory."""

"""Whole processes, put together as a user starts them."""

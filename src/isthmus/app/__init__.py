"""Wires a process from the other rooms' parts: the only room that knows concrete drivers and stores."""

"""Decisions of a probe as plain values: no clock, no socket, no chance."""

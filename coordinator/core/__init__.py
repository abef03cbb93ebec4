"""Decisions of the coordinator as plain values."""

"""Rows that others measured, in our columns."""

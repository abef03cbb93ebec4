"""Configurations to start with: real public names, polite intervals, a contact in each request."""

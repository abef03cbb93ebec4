"""The model: pure functions over counts, numpy at most."""

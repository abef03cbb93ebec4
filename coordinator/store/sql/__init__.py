"""SQL of the write side, one statement per file."""

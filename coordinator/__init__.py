"""The server that plans, collects, stores and shows."""

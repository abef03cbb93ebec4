"""A small internet in network namespaces, with faults whose truth is known."""

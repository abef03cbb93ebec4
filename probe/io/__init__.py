"""Where a probe touches the world: sockets, disk, clocks, the link."""

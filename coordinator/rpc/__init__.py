"""The gRPC doors: enrolment and fleet."""

import os

# Core has a line for every handshake that fails, with neither address nor bound: any stranger could fill
# the disk with them. Whom the doors refuse is counted and said by coordinator.refusals.
os.environ.setdefault("GRPC_VERBOSITY", "ERROR")

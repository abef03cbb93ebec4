"""The gRPC doors: enrolment and fleet."""

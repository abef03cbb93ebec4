"""Things that go wrong, each with the truth about itself."""

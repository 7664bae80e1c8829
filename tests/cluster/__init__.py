"""What a cluster stands on, for tests: real servers out of packages, which nobody has to prepare."""

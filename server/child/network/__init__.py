"""Where a child may connect to, by which way, and how fast."""

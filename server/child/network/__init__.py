"""Where a child may connect to, and by which way."""

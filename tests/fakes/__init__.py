"""Stand-ins for what cannot be had, or cannot be brought into a wanted state, in a test."""

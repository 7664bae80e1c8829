"""Where a child may connect to, and how."""

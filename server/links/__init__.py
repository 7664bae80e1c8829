"""Links to one file that need no token and end by themselves."""

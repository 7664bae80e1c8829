"""What `python -m server` can do: one module a command."""

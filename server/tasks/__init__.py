"""What happens to a task between a request and its files."""

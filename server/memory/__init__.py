"""The memory: which media were ever downloaded."""

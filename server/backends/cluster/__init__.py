"""Many machines: tasks in PostgreSQL, downloads as jobs of procrastinate, which any worker takes.

Its packages are imported with it: only where the settings ask for it.
"""

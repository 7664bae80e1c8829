"""Many machines: tasks in PostgreSQL, downloads as jobs of procrastinate, which any worker takes.

Importing it imports procrastinate and psycopg, so it is imported only where the settings choose it.
"""

"""Many machines: tasks in PostgreSQL, downloads as jobs of procrastinate, which any worker takes.

Importing this package imports procrastinate and psycopg, so it is imported only if the settings choose
PostgreSQL.
"""

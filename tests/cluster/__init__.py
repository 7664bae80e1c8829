"""Clusters for tests, on real PostgreSQL and S3 servers from packages that need no preparation."""

"""Finished files in an S3 bucket: `object_store` keeps them by its client `bucket`, `bucket_sweeper` deletes.

Imported only if the settings ask for it: it costs megabytes of memory.
"""

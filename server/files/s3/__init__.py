"""Finished files in an S3 bucket: `bucket` is the client, `files` the file store, `house` deletes.

Imported only if the settings ask for it: it costs megabytes of memory.
"""

"""Finished files in an S3 bucket: `bucket` speaks with it, `files` is the store, `house` tidies up.

Imported only where the settings ask for it: it costs megabytes.
"""

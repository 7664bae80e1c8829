"""Finished files: `local` or `s3` keeps them, `library_folder` places them; children work in `workplace`."""

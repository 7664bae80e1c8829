"""Finished files: `local` is the folder, `names` what they are called; children work in `workplace`."""

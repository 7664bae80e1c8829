"""Finished files: `local` keeps them in a folder, `names` names them; children work in `workplace`."""

"""Where finished files live; `local` is the folder, `names` what the world calls them."""

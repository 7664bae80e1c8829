"""The library: a folder for media servers, in which downloaded files get names by a layout."""

"""The library: a folder that media servers read, in which what was fetched gets a name of its own."""

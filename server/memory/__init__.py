"""The memory of all media that were ever fetched."""

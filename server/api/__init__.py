"""The HTTP face: handlers read the input, call one method, and answer."""

"""Feeds: the downloads of a subscription as a podcast."""

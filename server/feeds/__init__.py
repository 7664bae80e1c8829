"""Feeds: what a subscription has fetched, as a podcast."""

"""Subscriptions: links that are checked now and then, and whose new entries become tasks."""

"""Subscriptions: links that are checked regularly, and whose new entries become tasks."""

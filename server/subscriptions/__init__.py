"""Subscriptions: links that are looked at now and then, and whose new entries become tasks."""

"""Notices: webhooks and notifications at the ends of tasks."""

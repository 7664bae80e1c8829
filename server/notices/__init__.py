"""Notices: who is told of the end of a task, by webhooks and notifications."""

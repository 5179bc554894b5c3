"""Placeholder replaced by the table file branch."""

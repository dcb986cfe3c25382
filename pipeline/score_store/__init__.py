"""Paid answers, found by content: append, look up, compact."""

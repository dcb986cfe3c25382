"""Explain the ranking of one query: what was asked, and how sure each place is."""

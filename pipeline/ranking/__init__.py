"""Ranking: send a group's requests, isolate what the service refuses, and merge the scores."""

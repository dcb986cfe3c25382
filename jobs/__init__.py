"""The command line `rerank`, and the offline rerank service."""

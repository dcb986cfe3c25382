"""`rerank doctor`: check a service with a handful of tiny requests."""

"""`rerank doctor`: checks of a rerank service, with a handful of tiny requests."""

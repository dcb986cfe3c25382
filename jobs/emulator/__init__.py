"""The offline rerank service: the wire formats, limits and errors of the real one, on loopback."""

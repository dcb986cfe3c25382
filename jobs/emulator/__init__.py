"""The offline rerank service: wire formats, limits, errors and faults of the hosted one."""

"""The pace of requests: the whole quota, never more, first come, first served."""

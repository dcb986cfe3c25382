"""The pace of requests: use the whole quota, never exceed it, serve in order of arrival."""

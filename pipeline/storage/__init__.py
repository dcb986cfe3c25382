"""Bytes on a disk or an object store; a file becomes visible whole or not at all."""

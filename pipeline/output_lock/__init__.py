"""One writer per output: the system's lock on this machine, a lease on an object store."""

from pipeline.output_lock.lock import OutputLock, is_held

__all__ = ["OutputLock", "is_held"]

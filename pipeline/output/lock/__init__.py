"""One writer per output: an OS lock on this machine, a lease on an object store."""

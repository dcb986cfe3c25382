"""Output of commands: results on stdout; logs, progress and failures on stderr."""

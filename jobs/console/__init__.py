"""What commands show: results on stdout, logs, progress and failures on stderr."""

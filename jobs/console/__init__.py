"""What is shown: results on stdout, logs and progress on stderr."""
